-- Which cursors did somebody leave open on this server connection?
-- Ask through PgBouncer, more than once: each time any of them may answer.
select
    name,
    is_holdable,
    date_trunc('second', clock_timestamp() - creation_time) as age
from pg_cursors
where is_holdable
order by creation_time;
