-- Let the monitoring role in when every other slot is taken (PostgreSQL 16).
-- Needs reserved_connections = 2, and a restart: the exporter opens two.
grant pg_use_reserved_connections to upstream_monitor;
