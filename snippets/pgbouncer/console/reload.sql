-- Read pgbouncer.ini and userlist.txt again. No connection is lost.
-- psql --dbname=pgbouncer --file=reload.sql
reload;
