-- Who waits for a lock, and who holds it?
select
    waiting.pid as waiting_pid,
    waiting.application_name as waiting_application,
    left(waiting.query, 40) as waiting_statement,
    holding.pid as holding_pid,
    holding.application_name as holding_application,
    holding.state as holding_state
from pg_stat_activity as waiting
cross join lateral unnest(pg_blocking_pids(waiting.pid)) as blocker (pid)
inner join pg_stat_activity as holding on blocker.pid = holding.pid
where waiting.datname = current_database()
order by waiting.pid, holding.pid;
