-- How many queries has replay cancelled on this replica? Run it there.
select
    datname,
    confl_snapshot,
    confl_lock,
    confl_bufferpin,
    confl_deadlock
from pg_stat_database_conflicts
where datname = current_database();
