-- Serve the clients that wait.
-- psql --dbname=pgbouncer --set=database=upstream --file=resume.sql
resume :database;
