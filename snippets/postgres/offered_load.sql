-- How many connections to a database are busy at the same time, on average?
-- PostgreSQL 14 and later. Run it in another database, to leave itself out:
-- psql -d postgres -v database=upstream -v seconds=60 -f offered_load.sql
select
    clock_timestamp() as began,
    active_time + idle_in_transaction_time as busy_ms,
    -- A login is counted as a transaction, too.
    xact_commit + xact_rollback - sessions as transactions,
    sessions
from pg_stat_database
where datname = :'database'
\gset

select pg_sleep(:seconds)
\g (format=unaligned tuples_only=on)

with interval_between as (
    select
        extract(epoch from clock_timestamp() - :'began') as seconds,
        active_time + idle_in_transaction_time - :busy_ms as busy_ms,
        xact_commit + xact_rollback - sessions - :transactions as transactions,
        sessions - :sessions as sessions
    from pg_stat_database
    where datname = :'database'
)

select
    round((busy_ms / 1000 / seconds)::numeric, 2) as busy_connections,
    round((transactions / seconds)::numeric, 1) as transactions_per_second,
    round((busy_ms / greatest(transactions, 1))::numeric, 2) as mean_hold_ms,
    round((sessions / seconds)::numeric, 1) as sessions_per_second
from interval_between;
