-- Which cursors were left open on this server connection?
-- Run it through PgBouncer, more than once: any of them may answer.
select
    name,
    is_holdable,
    date_trunc('second', clock_timestamp() - creation_time) as age
from pg_cursors
where is_holdable
order by creation_time;
