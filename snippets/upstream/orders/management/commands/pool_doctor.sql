-- The pool doctor: on one screen, what holds connections and what waits.
-- psql --file=pool_doctor.sql
-- It changes nothing. What it has counted it notes in its own session, so that
-- the next look can tell what is new.
with patience as (
    -- A transaction, a silence in one or a wait that lasts longer is a warning,
    -- and critical if it lasts ten times as long. For another limit:
    -- set pool_doctor.patience = '5 min'
    select
        extract(epoch from coalesce(
            nullif(current_setting('pool_doctor.patience', true), ''), '1 min'
        )::interval) as seconds
),

sessions as (
    select
        pid,
        query = '<insufficient privilege>' as hidden,
        coalesce(nullif(application_name, ''), usename) as application,
        coalesce(state, 'hidden') as state,
        state like 'idle in transaction%' as silent,
        extract(epoch from clock_timestamp() - xact_start) as open_for,
        extract(epoch from clock_timestamp() - state_change) as in_state_for,
        left(regexp_replace(query, '\s+', ' ', 'g'), 50) as statement
    from pg_stat_activity
    where
        -- Of a hidden session even this is hidden.
        coalesce(backend_type, 'client backend') = 'client backend'
        and datid is not null
),

slots as (
    select
        current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        -- New in PostgreSQL 16; null before.
        - coalesce(current_setting('reserved_connections', true), '0')::int
            as usable
),

waits as (
    select
        pid,
        pg_blocking_pids(pid) as holders,
        extract(epoch from clock_timestamp() - min(waitstart)) as seconds
    from pg_locks
    where not granted
    group by pid
),

counted as materialized (
    select
        sum(sessions) as begun,
        sum(xact_commit + xact_rollback) as done,
        extract(epoch from clock_timestamp()) as at,
        string_to_array(current_setting('pool_doctor.last', true), ' ')
        ::numeric[] as last
    from pg_stat_database
),

noted as materialized (
    select
        begun - last[1] as begun,
        done - last[2] as done,
        at - last[3] as seconds,
        set_config(
            'pool_doctor.last', concat_ws(' ', begun, done, at), false
        ) as now
    from counted
),

findings as (
    select
        1 as part,
        'slots' as item,
        100.0 * count(*) / usable as amount,
        '%' as unit,
        80 as warns_at,
        95 as alarms_at,
        format('%s of %s taken', count(*), usable) as finding
    from sessions
    cross join slots
    group by usable

    union all
    select
        2 as part,
        'hidden' as item,
        count(*) as amount,
        'sessions' as unit,
        null as warns_at,
        null as alarms_at,
        format('are other roles'': grant pg_monitor to %I', current_user)
            as finding
    from sessions
    where hidden
    having count(*) > 0

    union all
    (
        select
            3 as part,
            'transaction' as item,
            open_for as amount,
            's' as unit,
            seconds as warns_at,
            10 * seconds as alarms_at,
            format('pid %s, %s, %s: %s', pid, application, state, statement)
                as finding
        from sessions
        cross join patience
        where open_for is not null and pid <> pg_backend_pid()
        order by open_for desc
        limit 1
    )

    union all
    (
        select
            4 as part,
            'silence' as item,
            in_state_for as amount,
            's' as unit,
            seconds as warns_at,
            10 * seconds as alarms_at,
            format('pid %s, %s, after: %s', pid, application, statement)
                as finding
        from sessions
        cross join patience
        where silent
        order by in_state_for desc
        limit 3
    )

    union all
    (
        select
            5 as part,
            'wait' as item,
            coalesce(waits.seconds, 0) as amount,
            's' as unit,
            patience.seconds as warns_at,
            10 * patience.seconds as alarms_at,
            format('pid %s, %s, for ', waiting.pid, waiting.application)
            || case
                when holding.pid is null then 'what is no client''s session'
                else format(
                    'pid %s, %s, %s',
                    holding.pid, holding.application, holding.state
                )
            end as finding
        from waits
        inner join sessions as waiting on waits.pid = waiting.pid
        left join sessions as holding on holding.pid = any(waits.holders)
        cross join patience
        order by waits.seconds desc
        limit 5
    )

    union all
    select
        6 as part,
        'churn' as item,
        begun / seconds as amount,
        '/s' as unit,
        -- Each session got little done.
        case when done < 5 * begun then 1 end as warns_at,
        null as alarms_at,
        case
            when begun >= 0
                then
                    format(
                        '%s sessions and %s transactions in %s s',
                        begun, done, round(seconds)
                    )
            else 'is known from the second look on'
        end as finding
    from noted

    union all
    (
        select
            7 as part,
            'sessions' as item,
            sum(many) as amount,
            '' as unit,
            null as warns_at,
            null as alarms_at,
            application || ': '
            || string_agg(many || ' ' || state, ', ' order by many desc, state)
                as finding
        from (
            select
                application,
                state,
                count(*) as many
            from sessions
            group by application, state
        ) as by_state
        group by application
        order by sum(many) desc, application
        limit 10
    )
)

-- region: verdict
select
    case
        when item = 'hidden' then 'unknown'
        when amount >= alarms_at then 'critical'
        when amount >= warns_at then 'warning'
        else 'ok'
    end as level,
    item,
    round(amount, case when unit in ('s', '/s') then 1 else 0 end) as value,
    unit,
    finding
from findings
order by part, amount desc, finding;
-- endregion: verdict
