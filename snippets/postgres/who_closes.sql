-- How long has the server been running, and which settings end sessions?
-- A timeout of 0 means none.
select
    'server running for' as what,
    date_trunc(
        'second', clock_timestamp() - pg_postmaster_start_time()
    )::text as value,
    '' as set_by
union all
select
    name as what,
    setting || coalesce(unit, '') as value,
    source as set_by
from pg_settings
where
    name in (
        'idle_session_timeout',
        'idle_in_transaction_session_timeout',
        'tcp_keepalives_idle',
        'client_connection_check_interval'
    )
union all
-- Settings of a role or a database, which only its own new sessions show.
select
    split_part(entry, '=', 1) as what,
    split_part(entry, '=', 2) as value,
    coalesce('role ' || rolname, 'every role')
    || coalesce(' in database ' || datname, '') as set_by
from pg_db_role_setting
cross join unnest(setconfig) as entry
left join pg_roles on setrole = pg_roles.oid
left join pg_database on setdatabase = pg_database.oid
where entry ~ '^(\w+_timeout|tcp_keepalives_\w+|client_connection_\w+)='
order by set_by, what;
