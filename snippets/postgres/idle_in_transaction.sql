-- Which sessions are idle in a transaction? Each holds its locks, unless the
-- transaction has failed.
select
    pid,
    application_name,
    date_trunc('second', clock_timestamp() - xact_start) as transaction_age,
    date_trunc('second', clock_timestamp() - state_change) as silent_for,
    left(query, 50) as last_statement
from pg_stat_activity
where
    backend_type = 'client backend'
    and state like 'idle in transaction%'
    and datname = current_database()
order by xact_start, pid;
