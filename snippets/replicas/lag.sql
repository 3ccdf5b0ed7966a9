-- How far behind is each replica? Run it on the primary, as a superuser or a
-- member of pg_monitor.
select
    application_name,
    state,
    sync_state,
    pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) as behind,
    replay_lag,
    backend_xmin
from pg_stat_replication
order by replay_lsn;
