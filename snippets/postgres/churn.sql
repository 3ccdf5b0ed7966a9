-- Are connections reused? How many transactions each session of this database has had, and how long it lasted.
-- Sessions are counted when they begin, their times and transactions when they end.
select
    sessions,
    xact_commit + xact_rollback as transactions,
    round((xact_commit + xact_rollback) / greatest(sessions, 1)::numeric, 1) as transactions_per_session,
    round((session_time / greatest(sessions, 1))::numeric) as mean_session_ms,
    round((active_time / greatest(session_time, 1))::numeric, 2) as busy_share
from pg_stat_database
where datname = current_database();
