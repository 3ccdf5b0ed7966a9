-- Is everything paused, by PAUSE without a name? Then paused is yes.
-- psql 'host=127.0.0.1 port=6432 dbname=pgbouncer user=pgbouncer_stats' \
--   --file=everything.sql
show state;
