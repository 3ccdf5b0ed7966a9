-- Replace each server connection as soon as its transaction has ended.
-- An empty name means every database.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_admin' \
--   --set=database=upstream --file=reconnect.sql
reconnect :"database";
