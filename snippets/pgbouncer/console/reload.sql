-- Read pgbouncer.ini and userlist.txt again, without a restart.
-- psql --dbname=pgbouncer --file=reload.sql
reload;
