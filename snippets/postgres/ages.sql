-- How old is each connection, and how long has it been in its state?
select
    pid,
    application_name,
    state,
    date_trunc('second', clock_timestamp() - backend_start) as connected_for,
    date_trunc('second', clock_timestamp() - state_change) as in_state_for
from pg_stat_activity
where
    backend_type = 'client backend'
    and datname = current_database()
    and pid <> pg_backend_pid()
order by backend_start, pid;
