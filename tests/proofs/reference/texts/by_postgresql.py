"""What PostgreSQL says, to its clients and in its log, and how it is made to."""

import os
import signal

from tests.proofs.reference.texts.bench import Case
from tests.proofs.reference.texts.clients import startup
from tests.proofs.reference.texts.doing import (
    copies,
    crossing,
    cut,
    filled,
    hear_first,
    impatient,
    killed,
    left_early,
    over,
    recovered,
    recovering,
    replayed,
    replaying,
    reset,
    sleeps,
    unread,
)
from tests.proofs.reference.texts.having import (
    DIRECT,
    ON_LIBPQ,
    ONE,
    PLAIN,
    SERVER,
    altered,
    let_in,
    standing,
    stranger,
    user,
)
from tests.stack.wait import until

VIEWS = ("pools", "stats", "version", "lists", "databases", "clients", "servers", "config")  # of PgBouncer's console
CASES = (
    Case('FATAL: database "…" does not exist', options={"dbname": "nowhere"}, **DIRECT),
    Case('password authentication failed for user "…"', options={"password": "wrong"}, **DIRECT),
    Case(
        'FATAL: role "…" is not permitted to log in',
        **altered("alter role {role} nologin", "alter role {role} login"),
        **DIRECT,
    ),
    Case(
        'too many connections for role "…"',
        **altered("alter role {role} connection limit 0", "alter role {role} connection limit -1"),
        **DIRECT,
    ),
    Case(
        'too many connections for database "…"',
        **altered("alter database {database} connection limit 0", "alter database {database} connection limit -1"),
        **DIRECT,
    ),
    Case(
        'FATAL: database "…" is not currently accepting connections',
        **altered(
            "alter database {database} allow_connections false", "alter database {database} allow_connections true"
        ),
        **DIRECT,
    ),
    Case(
        'FATAL: permission denied for database "…"',
        **altered(
            "revoke connect on database {database} from public, {role}",
            "grant connect on database {database} to public, {role}",
        ),
        **DIRECT,
    ),
    Case(
        'FATAL: role "…" does not exist',
        options={"user": "nobody"},
        **let_in("host all nobody 127.0.0.1/32 trust"),
        **DIRECT,
    ),
    Case("FATAL: pg_hba.conf rejects connection for host …", **let_in("host all all 127.0.0.1/32 reject"), **DIRECT),
    Case("no pg_hba.conf entry for host …, user …, database …, no encryption", **let_in("", alone=True), **DIRECT),
    Case("no pg_hba.conf entry for host …", **let_in("", alone=True), to="direct", **ONE),
    Case('FATAL: Ident authentication failed for user "…"', **let_in("host all all 127.0.0.1/32 ident"), **DIRECT),
    Case(
        'FATAL: Peer authentication failed for user "…"',
        options={"host": lambda b: b.cluster.data},
        **let_in("local all all peer"),
        **DIRECT,
    ),
    Case(
        "FATAL: no PostgreSQL user name specified in startup packet",
        to="direct",
        packets=lambda _: [startup(database="x")],
    ),
    Case(
        "terminating connection due to administrator command",
        meanwhile=lambda b: b.each("pg_terminate_backend"),
        **DIRECT,
    ),
    Case(
        "canceling statement due to user request",
        then="do $$ begin perform pg_cancel_backend(pg_backend_pid()); perform pg_sleep(9); end $$",
        **DIRECT,
    ),
    Case(
        "canceling statement due to statement timeout",
        first="set statement_timeout = 20",
        then="select pg_sleep(9)",
        **DIRECT,
    ),
    Case(
        "canceling statement due to lock timeout", first="set lock_timeout = 20", then="select * from locked", **DIRECT
    ),
    Case('could not obtain lock on row in relation "…"', then="select * from taken for update nowait", **DIRECT),
    Case(
        'could not obtain lock on relation "…"', first="begin", then="lock table locked in share mode nowait", **DIRECT
    ),
    Case(
        "still waiting for …Lock on …",
        **altered(
            "alter role {role} set deadlock_timeout = 20; alter role {role} set log_lock_waits = on",
            "alter role {role} reset deadlock_timeout; alter role {role} reset log_lock_waits",
        ),
        first="set lock_timeout = 500",
        then="select * from locked",
        **SERVER,
    ),
    # Long enough for a client to read its answer first: together, it would take the error for a notice.
    Case(
        "terminating connection due to idle-session timeout",
        first="set idle_session_timeout = 500",
        meanwhile=over,
        **DIRECT,
    ),
    Case(
        "terminating connection due to idle-in-transaction timeout",
        first="set idle_in_transaction_session_timeout = 500; begin",
        meanwhile=over,
        **DIRECT,
    ),
    Case(
        "terminating connection due to transaction timeout",
        first="set transaction_timeout = 20",
        then="select pg_sleep(9)",
        **DIRECT,
    ),
    Case(
        "cannot execute … in a read-only transaction",
        first="set default_transaction_read_only = on",
        then="create table t (id int)",
        **DIRECT,
    ),
    Case("cannot execute … during recovery", to="standby", then="listen somebody", clients=PLAIN),
    Case(
        "cannot set transaction read-write mode during recovery",
        to="standby",
        then="begin read write",
        clients=PLAIN,
    ),
    Case(
        "current transaction is aborted, commands ignored until end of transaction block",
        to="direct",
        first="begin",
        fails="select 1/0",
        clients=("psycopg 3", "psycopg2", "asyncpg", "Django"),
    ),
    Case(
        "deadlock detected",
        first="select pg_advisory_lock(1)",
        meanwhile=crossing,
        then="select pg_advisory_lock(2)",
        **altered("alter role {role} set deadlock_timeout = 20", "alter role {role} reset deadlock_timeout"),
        to="direct",
        **ONE,
    ),
    Case(
        "canceling statement due to conflict with recovery",
        meanwhile=replaying,
        then="select pg_sleep(9), count(*) from replayed",
        **standing(refuses=False, max_standby_streaming_delay=0),
    ),
    Case(
        "terminating connection due to conflict with recovery",
        first="begin; select * from replayed",
        meanwhile=replayed,
        **standing(refuses=False, max_standby_streaming_delay=0),
    ),
    Case("FATAL: the database system is not accepting connections", **standing(hot_standby="off")),
    Case("FATAL: the database system is starting up", **standing(restore_command="sleep 30; false")),
    Case(
        "terminating connection because of crash of another server process",
        to="direct",
        meanwhile=killed,
        after=lambda b: b.recover(),
        clients=("psql",),
    ),
    Case(
        "received … results from command '…'",
        first="begin",
        meanwhile=lambda b: b.each("pg_terminate_backend"),
        then=lambda c: c.commit(),
        **ONE,
    ),
    Case(
        "COPY cannot be mixed with other operations",
        first="begin",
        meanwhile=lambda b: b.each("pg_terminate_backend"),
        then=copies,
        **ONE,
    ),
    Case("(PID …) was terminated by signal …", meanwhile=killed, after=lambda b: b.recover(), **SERVER),
    Case(
        "terminating connection because of unexpected SIGQUIT signal",
        meanwhile=lambda b: os.kill(b.sessions()[0], signal.SIGQUIT),
        after=lambda b: b.recover(),
        **SERVER,
    ),
    Case(
        "FATAL: the database system is in recovery mode",
        to="direct",
        before=recovering,
        after=recovered,
        **ONE,
    ),
    Case(
        "terminating connection due to unexpected postmaster exit",
        to="direct",
        meanwhile=lambda b: (os.kill(b.cluster.leash.pid, signal.SIGKILL), until("it ends", b.cluster.leash.ended)),
        then=hear_first,
        after=lambda b: b.restart(),
        **ONE,
    ),
    Case('relation "…" does not exist', then="select * from nowhere", **DIRECT),
    Case(
        'prepared statement "…" already exists', first="prepare a as select 1", then="prepare a as select 1", **DIRECT
    ),
    Case('prepared statement "…" does not exist', then="execute nope", **DIRECT),
    Case("unnamed prepared statement does not exist", then=lambda c: c.pgconn.exec_prepared(b"", []), **SERVER),
    Case(
        'bind message supplies … parameters, but prepared statement "…" requires …',
        then=lambda c: (c.pgconn.prepare(b"", b"select 1"), c.pgconn.exec_prepared(b"", [b"1"])),
        **SERVER,
    ),
    Case("SET LOCAL can only be used in transaction blocks", then="set local search_path = ''", **SERVER),
    Case("you don't own a lock of type …", then="select pg_advisory_unlock(1)", **SERVER),
    Case('cursor "…" does not exist', first="begin", then="fetch nope", **DIRECT),
    Case('portal "…" does not exist', then=lambda c: c.pgconn.describe_portal(b"nope"), to="direct", **ONE),
    Case(
        'portal "_django_curs_…" does not exist',
        then=lambda c: c.pgconn.describe_portal(b"_django_curs_1"),
        to="direct",
        **ONE,
    ),
    Case("DISCARD ALL cannot run inside a transaction block", then="rollback; discard all", **DIRECT),
    Case("cannot run inside a transaction block", first="begin", then="vacuum", **DIRECT),
    Case("there is already a transaction in progress", first="begin", then="begin", **SERVER),
    Case("there is no transaction in progress", then="commit", **SERVER),
    Case(
        "because it has pending trigger events",
        first="begin; create temp table a (id int primary key); "
        "create temp table b (id int references a deferrable initially deferred); insert into b values (1)",
        then="alter table b add column more int",
        **DIRECT,
    ),
    Case('cursor "_django_curs_…" does not exist', first="begin", then="fetch _django_curs_1", **DIRECT),
    Case(
        "cached plan must not change result type",
        first="create temp table planned (id int); "
        "prepare a as select * from planned; execute a; alter table planned add column more int",
        then="execute a",
        **DIRECT,
    ),
    Case("unrecognized configuration parameter", then="set nowhere = 1", **DIRECT),
    *(Case(f'unrecognized configuration parameter "{view}"', then=f"show {view}", **DIRECT) for view in VIEWS),
    Case(
        "permission denied for schema public",
        **altered(
            "revoke create on schema public from public", "grant create on schema public to public", outside=False
        ),
        options={"user": stranger, "password": lambda b: b.stranger.password},
        then="create table public.nothing ()",
        **DIRECT,
    ),
    Case('database "test_…" does not exist', options={"dbname": "test_shop_gw0"}, **DIRECT),
    Case("SAVEPOINT can only be used in transaction blocks", then="savepoint first", **DIRECT),
    Case(
        "no schema has been selected to create in",
        first="set search_path = nowhere",
        then="create table nothing ()",
        **DIRECT,
    ),
    Case(
        "permission denied to terminate process",
        then="select pg_terminate_backend(pid) from pg_stat_activity where usesysid = 10",
        **DIRECT,
    ),
    Case(
        "permission denied to cancel query",
        then="select pg_cancel_backend(pid) from pg_stat_activity where usesysid = 10",
        **DIRECT,
    ),
    Case(
        "could not serialize access due to read/write dependencies among transactions",
        first="begin isolation level serializable; select * from counted; insert into counted values (7)",
        meanwhile=lambda b: b.sql(
            "begin isolation level serializable; select * from counted; insert into counted values (7); commit"
        ),
        then="commit",
        **DIRECT,
    ),
    Case(
        "could not serialize access due to concurrent update",
        first="begin isolation level repeatable read; select * from counted",
        meanwhile=lambda b: b.sql("update counted set id = id + 1"),
        then="update counted set id = 0",
        **DIRECT,
    ),
    Case(
        'FATAL: remaining connection slots are reserved for roles with privileges of the "pg_use_reserved_connections" '
        "role",
        before=filled,
        **DIRECT,
    ),
    Case(
        "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
        before=lambda b: filled(b, "reserved"),
        after=lambda b: b.outside("revoke pg_use_reserved_connections from {role}"),
        **DIRECT,
    ),
    Case("FATAL: sorry, too many clients already", before=lambda b: filled(b, "all"), **DIRECT),
    Case(
        "FATAL: canceling authentication due to timeout",
        to="direct",
        said_by="server",
        before=lambda b: impatient(b, "set authentication_timeout = '1s'"),
        packets=lambda b: [startup(user=user(b), database=b.database.name)],
        after=lambda b: impatient(b, "reset authentication_timeout"),
    ),
    Case("unexpected EOF on client connection with an open transaction", first="begin", then=cut, **SERVER),
    Case(
        "FATAL: the database system is shutting down",
        before=lambda b: os.kill(b.cluster.leash.pid, signal.SIGTERM),
        after=lambda b: b.restart(),
        **DIRECT,
    ),
    Case(
        "unexpected EOF on client connection",
        **altered("alter role {role} set log_min_messages = debug1", "alter role {role} reset log_min_messages"),
        then=cut,
        **SERVER,
    ),
    Case("server is in hot standby mode", to="standby", options={"target_session_attrs": "primary"}, clients=ON_LIBPQ),
    Case("could not receive data from client:", then=reset, **SERVER),
    Case("could not send data to client:", then=unread, **SERVER),
    Case(
        "invalid length of startup packet",
        to="direct",
        said_by="server",
        packets=lambda _: [b"GET / HTTP/1.1\r\n\r\n"],
    ),
    Case("incomplete startup packet", meanwhile=left_early, **SERVER),
    Case(
        "unsupported frontend protocol …: server supports …",
        to="direct",
        said_by="server",
        packets=lambda _: [startup(9 << 16, user="x")],
    ),
    Case("connection to client lost", first="set client_connection_check_interval = 20", then=sleeps, **SERVER),
    Case("permission denied to create database", then="create database nothing", **DIRECT),
)
