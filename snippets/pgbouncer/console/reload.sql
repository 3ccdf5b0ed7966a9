-- Read pgbouncer.ini and userlist.txt again. No connection is lost.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_admin' \
--   --file=reload.sql
reload;
