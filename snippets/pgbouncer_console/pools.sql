-- Who waits for a server connection, and for how long? One block a pool.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=stats' --file=pools.sql
\x on
show pools;
