-- Replace each server connection as soon as its transaction has ended.
-- psql --dbname=pgbouncer --set=database=upstream --file=reconnect.sql
reconnect :database;
