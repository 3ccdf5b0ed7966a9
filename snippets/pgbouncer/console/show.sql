-- What PgBouncer is doing, on its console:
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_stats' \
--   --file=show.sql
-- region: pools
-- Is any client waiting for a server connection, and for how long?
show pools;
-- endregion: pools
-- region: clients
-- Who is connected?
show clients;
-- endregion: clients
-- region: servers
-- Which connections to PostgreSQL are there, and in which state?
show servers;
-- endregion: servers
-- region: stats
-- How much work goes through, and how long does it take?
show stats;
-- endregion: stats
-- region: databases
-- Where does each database point, and what are its limits?
show databases;
-- endregion: databases
-- region: lists
-- How many clients, servers and pools?
show lists;
-- endregion: lists
-- region: config
-- Which settings are in effect, and which of them can a reload change?
show config;
-- endregion: config
