-- The three settings that decide how many connections ordinary roles can have. All need a restart to change.
select
    name,
    setting,
    pending_restart
from pg_settings
where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
order by name;
