-- How many queries has this replica cancelled for what it replays? Ask it.
select
    datname,
    confl_snapshot,
    confl_lock,
    confl_bufferpin,
    confl_deadlock
from pg_stat_database_conflicts
where datname = current_database();
