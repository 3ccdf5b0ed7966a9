-- Let PostgreSQL notice that a client is gone, and end its session.
-- Time until a session ends to which something was sent that nobody confirms,
-- or that the client does not read: as long as the silence and all probes
-- below, or the first probe that is lost ends it.
alter system set tcp_user_timeout = '45s';
-- Silence until it is asked whether the client is there, the time between two
-- such probes, and how many may be lost.
alter system set tcp_keepalives_idle = '30s';
alter system set tcp_keepalives_interval = '5s';
alter system set tcp_keepalives_count = 3;
-- How often a session that runs a statement looks whether its client is there.
alter system set client_connection_check_interval = '10s';
select pg_reload_conf();
