-- Print userlist.txt: each role with the secret that the server stores.
-- As a superuser, into a file that only PgBouncer's user may read:
-- (umask 077; psql --file=userlist.sql > userlist.txt)
\set QUIET on
\pset format unaligned
\pset tuples_only on
select format('"%s" "%s"', rolname, rolpassword)
from pg_authid
where
    rolname in ('upstream', 'pgbouncer_admin', 'pgbouncer_stats')
    and rolpassword is not null
order by rolname;
