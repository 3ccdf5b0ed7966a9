-- Close the connections of one application that have been idle for a while.
-- psql --set=application=upstream --set=idle_for='5 min' --file=close_idle.sql
select
    application_name,
    pg_terminate_backend(pid) as closed
from pg_stat_activity
where
    backend_type = 'client backend'
    and state = 'idle'
    and application_name = :'application'
    and clock_timestamp() - state_change > :'idle_for'::interval
    and datname = current_database();
