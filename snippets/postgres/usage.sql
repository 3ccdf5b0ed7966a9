-- How full is the server? Only client backends take slots, and some slots are
-- reserved.
with limits as (
    select
        current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        -- New in PostgreSQL 16; null before.
        - coalesce(current_setting('reserved_connections', true), '0')::int
            as usable_slots
)

select
    count(*) as clients,
    usable_slots,
    round(100.0 * count(*) / usable_slots) as percent_used
from pg_stat_activity
cross join limits
where backend_type = 'client backend'
group by usable_slots;
