-- What decides how many connections ordinary roles can have. A change of any
-- of these waits for a restart.
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
