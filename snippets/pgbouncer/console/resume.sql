-- Serve the clients that wait.
-- An empty name ends a pause of everything, and none of a single database.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_admin' \
--   --set=database=upstream --file=resume.sql
resume :"database";
