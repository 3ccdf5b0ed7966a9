-- End sessions that have been idle in a transaction for a while.
-- Their transactions are rolled back.
-- psql --set=silent_for='10 s' --file=end_idle_transactions.sql
select
    application_name,
    pg_terminate_backend(pid) as ended
from pg_stat_activity
where
    backend_type = 'client backend'
    and state like 'idle in transaction%'
    and clock_timestamp() - state_change > :'silent_for'::interval
    and datname = current_database();
