-- Let queries on this replica run for longer, while it falls behind. Run it
-- on the replica.
alter system set max_standby_streaming_delay = '5min';
select pg_reload_conf();
