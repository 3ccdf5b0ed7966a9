-- Which schemas have a relation of this name, and are they searched?
-- Finds it in capitals, too: a name that has some needs quotes in SQL.
-- psql --set=relation=orders_order --file=where_is.sql
select
    nspname as schema,
    relname as relation,
    nspname = any(current_schemas(true)) as in_search_path,
    current_setting('search_path') as search_path
from pg_class
inner join pg_namespace on relnamespace = pg_namespace.oid
where lower(relname) = lower(:'relation');
