-- Have this replica let a query go on for longer, and be behind meanwhile. It
-- is run on the replica.
alter system set max_standby_streaming_delay = '5min';
select pg_reload_conf();
