-- Let transactions end, close server connections, and make clients wait.
-- An empty name means every database.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_admin' \
--   --set=database=upstream --file=pause.sql
pause :"database";
