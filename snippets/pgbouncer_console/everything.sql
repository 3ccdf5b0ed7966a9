-- Is everything paused, by PAUSE without a name? Then paused is yes.
-- psql --port=6432 --dbname=pgbouncer --file=everything.sql
show state;
