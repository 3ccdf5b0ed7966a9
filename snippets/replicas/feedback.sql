-- Have this replica tell the primary which rows its queries still need. Run
-- it on the replica.
alter system set hot_standby_feedback = on;
select pg_reload_conf();
