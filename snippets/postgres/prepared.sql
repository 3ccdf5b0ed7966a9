-- Which statements has this session prepared, and when? Shows only its own.
select
    name,
    prepare_time,
    statement
from pg_prepared_statements
order by prepare_time;
