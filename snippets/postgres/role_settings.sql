-- Which settings do roles and databases have for their new sessions?
select
    coalesce('role ' || rolname, 'every role') as of_role,
    coalesce('database ' || datname, 'every database') as in_database,
    unnest(setconfig) as setting
from pg_db_role_setting
left join pg_roles on setrole = pg_roles.oid
left join pg_database on setdatabase = pg_database.oid
order by of_role, in_database, setting;
