-- Are connections reused? How much the sessions of this database got done.
-- A session is counted when it begins, its time and transactions later, when
-- it ends at the latest.
select
    sessions,
    xact_commit + xact_rollback as transactions,
    round((xact_commit + xact_rollback) / greatest(sessions, 1)::numeric, 1)
        as transactions_per_session,
    round((session_time / greatest(sessions, 1))::numeric) as mean_session_ms,
    round((active_time / greatest(session_time, 1))::numeric, 2) as busy_share
from pg_stat_database
where datname = current_database();
