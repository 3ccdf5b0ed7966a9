-- Which timeouts apply in this session, and where do they come from?
-- Leaves out 0, which means none.
select
    name,
    setting || coalesce(unit, '') as value,
    source as set_by
from pg_settings
where
    name like '%timeout'
    and setting <> '0'
    and context in ('user', 'superuser')
order by name;
