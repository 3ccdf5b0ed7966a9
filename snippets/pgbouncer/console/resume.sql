-- Serve the waiting clients.
-- An empty name ends a pause of all databases, but not of a single one.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_admin' \
--   --set=database=upstream --file=resume.sql
resume :"database";
