-- Who is connected to a database? Run it in another one.
-- psql --set=database=test_upstream --file=who_is_in.sql postgres
select
    pid,
    usename,
    application_name,
    client_addr,
    state
from pg_stat_activity
where datname = :'database'
order by backend_start;
