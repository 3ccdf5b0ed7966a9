-- Who is connected to this database, and what are they doing?
select
    application_name,
    state,
    count(*) as connections
from pg_stat_activity
where
    backend_type = 'client backend'
    and datname = current_database()
    and pid <> pg_backend_pid()
group by application_name, state
order by connections desc, application_name, state;
