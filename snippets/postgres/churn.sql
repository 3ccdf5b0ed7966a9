-- How many sessions has this database seen for each transaction, and how long did they last?
-- Near 1.0: every transaction pays for a connection of its own. Near 0: connections are reused.
select
    sessions,
    xact_commit + xact_rollback as transactions,
    round(sessions::numeric / greatest(xact_commit + xact_rollback, 1), 2) as sessions_per_transaction,
    round((session_time / greatest(sessions, 1))::numeric) as mean_session_ms,
    round((active_time / greatest(session_time, 1))::numeric, 2) as busy_share
from pg_stat_database
where datname = current_database();
