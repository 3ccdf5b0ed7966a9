-- Close the connections of one application that have done nothing for a while. Its next request opens a new one.
-- psql --set=application=upstream --set=idle_for='10 minutes' --file=close_idle.sql
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
