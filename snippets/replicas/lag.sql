-- How far is each replica behind? On the primary; the application's role sees
-- less of it than pg_monitor does.
select application_name, state, sync_state,
    pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) as behind,
    replay_lag, backend_xmin
from pg_stat_replication
order by replay_lsn;
