-- Let transactions end, close the server connections, and let clients wait.
-- psql --dbname=pgbouncer --set=database=upstream --file=pause.sql
pause :database;
