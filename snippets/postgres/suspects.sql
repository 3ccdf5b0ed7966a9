-- Which sessions hold a connection without using it? The longest idle first,
-- with the client's address: client_port leads to the process that holds it.
select
    pid,
    application_name,
    client_addr,
    client_port,
    date_trunc('second', state_change - backend_start) as used_for,
    date_trunc('second', clock_timestamp() - state_change) as idle_for,
    left(regexp_replace(query, '\s+', ' ', 'g'), 40) as last_statement
from pg_stat_activity
where
    backend_type = 'client backend'
    and state = 'idle'
    and datname = current_database()
    and pid <> pg_backend_pid()
order by state_change, pid
limit 20;
