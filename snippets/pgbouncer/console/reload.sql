-- Read pgbouncer.ini and userlist.txt again, without a restart.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_admin' \
--   --file=reload.sql
reload;
