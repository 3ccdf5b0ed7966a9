-- Drop all connections of a database at once, and make new clients wait
-- until it is resumed: the last resort.
-- An empty name means every database, from PgBouncer 1.25 on.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_admin' \
--   --set=database=upstream --file=kill.sql
kill :"database";
