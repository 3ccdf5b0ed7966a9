-- Which limits of time hold in this session, and where do they come from?
-- 0 is none.
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
