-- The settings that decide how many connections ordinary roles can have. A
-- change to any of them takes effect at a restart only.
select
    name,
    setting,
    pending_restart
from pg_settings
where
    name in (
        'max_connections',
        'superuser_reserved_connections',
        'reserved_connections'
    )
order by name;
