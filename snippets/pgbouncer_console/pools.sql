-- Who waits for a server connection, and for how long? One block per pool.
-- psql --file=pools.sql postgresql://pgbouncer_stats@127.0.0.1:6432/pgbouncer
\x on
show pools;
