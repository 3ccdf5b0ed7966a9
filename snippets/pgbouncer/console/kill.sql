-- Drop all connections of a database at once, and let nobody in until it is
-- resumed: the last resort.
-- psql --dbname=pgbouncer --set=database=upstream --file=kill.sql
kill :database;
