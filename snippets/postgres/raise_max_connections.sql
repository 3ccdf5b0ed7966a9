-- Takes effect at the next restart only. Raise it on standbys first: one
-- with a lower value than its primary stops replaying.
-- psql --set=slots=200 --file=raise_max_connections.sql
alter system set max_connections = :slots;
select pg_reload_conf();
