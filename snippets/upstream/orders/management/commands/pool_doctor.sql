-- The pool doctor: on one screen, what holds connections and what waits.
-- psql --file=pool_doctor.sql
-- It changes nothing. It keeps its counts in its own session, so that the next
-- run in it can tell what is new.
with patience as (
    -- A transaction, a silence in one or a wait is a warning when it lasts
    -- longer than this, and critical at ten times as long. For another limit:
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
        -- Possibly after the comment in which Django names the view.
        query ~* '^\s*(/\*.*?\*/\s*)?(declare|fetch)\M' as has_cursor,
        coalesce(nullif(application_name, ''), usename) as application,
        coalesce(state, 'hidden') as state,
        state like 'idle in transaction%' as silent,
        extract(epoch from clock_timestamp() - xact_start) as open_for,
        extract(epoch from clock_timestamp() - state_change) as in_state_for,
        left(regexp_replace(query, '\s+', ' ', 'g'), 50) as statement
    from pg_stat_activity
    where
        -- A hidden session hides even its backend_type.
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
        sum(conflicts) as conflicts,
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
        conflicts - last[4] as conflicts,
        set_config(
            'pool_doctor.last', concat_ws(' ', begun, done, at, conflicts),
            false
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
        format('%s of %s slots are taken', count(*), usable) as finding
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
        format(
            'are hidden, they are of other roles: grant pg_monitor to %I',
            current_user
        ) as finding
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
            format(
                'pid %s, %s, last statement: %s', pid, application, statement
            ) as finding
        from sessions
        cross join patience
        where silent
        order by in_state_for desc
        limit 3
    )

    union all
    (
        -- Its session is gone, its locks are not; end it by its name.
        select
            5 as part,
            'prepared' as item,
            extract(epoch from clock_timestamp() - prepared) as amount,
            's' as unit,
            seconds as warns_at,
            10 * seconds as alarms_at,
            format(
                'prepared transaction %L, owner %s, database %s',
                gid, owner, database
            ) as finding
        from pg_prepared_xacts
        cross join patience
        order by prepared
        limit 3
    )

    union all
    (
        -- Rows that nobody fetches any more stay in the session.
        select
            6 as part,
            'cursor' as item,
            in_state_for as amount,
            's' as unit,
            seconds as warns_at,
            null as alarms_at,
            format(
                'pid %s, %s, last statement: %s', pid, application, statement
            ) as finding
        from sessions
        cross join patience
        where state = 'idle' and has_cursor
        order by in_state_for desc
        limit 3
    )

    union all
    (
        select
            7 as part,
            'wait' as item,
            coalesce(waits.seconds, 0) as amount,
            's' as unit,
            patience.seconds as warns_at,
            10 * patience.seconds as alarms_at,
            format('pid %s, %s, waits for ', waiting.pid, waiting.application)
            || case
                when holding.pid is null
                    then 'something that is not a client session'
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
        8 as part,
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
                        '%s new sessions and %s transactions in %s s',
                        begun, done, round(seconds)
                    )
            else 'not known until the next look'
        end as finding
    from noted

    union all
    (
        -- What replicas of this server have not replayed yet.
        select
            9 as part,
            'replica' as item,
            extract(epoch from coalesce(replay_lag, '0')) as amount,
            's' as unit,
            seconds as warns_at,
            10 * seconds as alarms_at,
            format('%s, %s', application_name, state) as finding
        from pg_stat_replication
        cross join patience
        where replay_lsn is not null
        order by replay_lag desc nulls last
        limit 5
    )

    union all
    -- If this server is itself a replica: what it has not replayed yet.
    select
        10 as part,
        'standby' as item,
        case
            when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
            -- Null if nothing has been replayed since the start.
            else coalesce(
                extract(
                    epoch from
                    clock_timestamp() - pg_last_xact_replay_timestamp()
                ),
                0
            )
        end as amount,
        's' as unit,
        case
            when
                pg_is_wal_replay_paused()
                or not exists (select from pg_stat_wal_receiver)
                then 0
            else seconds
        end as warns_at,
        10 * seconds as alarms_at,
        case
            when pg_is_wal_replay_paused() then 'replay is paused'
            when exists (select from pg_stat_wal_receiver)
                then 'follows its primary'
            else 'receives no WAL from a primary'
        end as finding
    from patience
    where pg_is_in_recovery()

    union all
    select
        11 as part,
        'conflicts' as item,
        conflicts as amount,
        'queries' as unit,
        1 as warns_at,
        null as alarms_at,
        case
            when conflicts >= 0
                then 'were canceled by replay conflicts since the last look'
            else 'not known until the next look'
        end as finding
    from noted
    where pg_is_in_recovery()

    union all
    (
        select
            12 as part,
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
),

-- Where the guide says what to do about it.
pages (item, page) as (
    values
    ('slots', 'runbooks/too-many-clients/'),
    ('hidden', 'how-to/pool-doctor/#as-whom'),
    ('transaction', 'how-to/idle-in-transaction/'),
    ('silence', 'how-to/idle-in-transaction/'),
    ('prepared', 'how-to/pool-doctor/#prepared-and-forgotten'),
    ('cursor', 'runbooks/pgbouncer-cursor-does-not-exist/'),
    ('wait', 'how-to/see-connections/#who-waits-for-whom'),
    ('churn', 'runbooks/connection-churn/'),
    ('replica', 'how-to/replicas/#a-replica-that-is-behind'),
    ('standby', 'how-to/replicas/#a-replica-that-is-behind'),
    ('conflicts', 'how-to/replicas/#queries-that-a-replica-cancels')
),

-- region: verdict
graded as (
    select
        *,
        case
            when item = 'hidden' then 'unknown'
            when amount >= alarms_at then 'critical'
            when amount >= warns_at then 'warning'
            else 'ok'
        end as level
    from findings
)

select
    graded.level,
    graded.item,
    round(amount, case when unit in ('s', '/s') then 1 else 0 end) as value,
    graded.unit,
    graded.finding,
    case when graded.level <> 'ok' then pages.page end as page
from graded
left join pages on graded.item = pages.item
order by graded.part, graded.amount desc, graded.finding;
-- endregion: verdict
