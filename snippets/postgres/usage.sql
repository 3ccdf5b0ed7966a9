-- How full is the server, seen by an ordinary role? Three kinds of slots are not for it.
with limits as (
    select
        current_setting('max_connections')::int as all_slots,
        current_setting('superuser_reserved_connections')::int as superuser_slots,
        -- PostgreSQL 16 and later; null before.
        coalesce(current_setting('reserved_connections', true), '0')::int as reserved_slots
)

select
    count(*) as clients,
    all_slots - superuser_slots - reserved_slots as usable_slots,
    round(100.0 * count(*) / (all_slots - superuser_slots - reserved_slots)) as percent_used
from pg_stat_activity
cross join limits
where backend_type = 'client backend'
group by all_slots, superuser_slots, reserved_slots;
