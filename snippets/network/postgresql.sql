-- Let PostgreSQL notice that a client is gone, and end its session.
-- Time until a session ends if its client does not acknowledge or does not
-- read what was sent: as long as the silence and all probes below, else the
-- first lost probe ends it.
alter system set tcp_user_timeout = '45s';
-- Silence until the first keepalive probe, the time between two probes, and
-- how many may be lost.
alter system set tcp_keepalives_idle = '30s';
alter system set tcp_keepalives_interval = '5s';
alter system set tcp_keepalives_count = 3;
-- How often a session checks for its client while it runs a statement.
alter system set client_connection_check_interval = '10s';
select pg_reload_conf();
