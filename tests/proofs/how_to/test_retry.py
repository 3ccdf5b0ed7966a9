"""Proves docs/how-to/retry.md: work that loses its connection, run again or not."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from signal import SIGCONT, SIGSTOP

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.runbooks.test_pgbouncer_server_login_retry import ask, outage
from tests.stack.database import fresh
from tests.stack.upstream import needs_a_pool, needs_psycopg_3
from tests.stack.wait import until

# Code after it runs work whose connection is terminated in the first call: before its query, or after a write.
BEGINS = """
import io, select
import django; django.setup()
from django.db import Error, connection, transaction
from django.db.models import Value
from django.db.models.functions import Concat
from orders.models import Order
from orders.retrying import place, retried
calls = []

def end():
    other = connection.copy()
    with connection.cursor() as cursor, other.cursor() as ends:
        cursor.execute("select pg_backend_pid()")
        ends.execute("select pg_terminate_backend(%s, 10000)", cursor.fetchone())
    other.close()

def called():
    calls.append(1)
    return len(calls)

def reads():
    if called() == 1:
        end()
    return Order.objects.count()

def reads_in_a_transaction():
    with transaction.atomic():
        return reads()

def copies():
    if called() == 1:
        end()
    with connection.cursor() as cursor:
        if connection.Database.__name__ == "psycopg2":
            copied = io.StringIO()
            cursor.copy_expert("copy (select 7) to stdout", copied)
            return copied.getvalue().strip()
        with cursor.copy("copy (select 7) to stdout") as copy:
            return b"".join(copy).decode().strip()

def commits():
    with transaction.atomic():
        count = Order.objects.count()
        if called() == 1:
            end()
    return count

def falls_silent():
    with transaction.atomic(), connection.cursor() as cursor:
        if called() == 1:
            cursor.execute("set local idle_in_transaction_session_timeout = 1")
            select.select([connection.connection], [], [])
        return Order.objects.count()

def writes():
    order = Order.objects.create(customer="Ada")
    if called() == 1:
        end()
    return Order.objects.filter(pk=order.pk).exists()

def adds():
    Order.objects.filter(pk=7).update(customer=Concat("customer", Value("!")))
    if called() == 1:
        end()
    return Order.objects.get(pk=7).customer

def is_too_slow():
    called()
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 10")
        cursor.execute("select pg_sleep(60)")

def breaks_a_rule():
    called()
    Order.objects.bulk_create([Order(pk=1), Order(pk=1)])

def tell(work):
    try:
        print(work(), end=", ")
    except (Error, RuntimeError, connection.Database.Error) as error:
        print(type(error).__name__, end=", ")
    print(len(calls))

"""
# Loses the connection right after update_or_create(), as writes() does after create().
LOSSY = """
write = Order.objects.update_or_create

def lossy(**named):
    made = write(**named)
    if called() == 1:
        end()
    Order.objects.count()
    return made

Order.objects.update_or_create = lossy
"""
Says = Callable[..., list[str]]


@pytest.fixture
def says(project, server, server_version, migrated, request) -> Iterator[Says]:
    """Run code after BEGINS in the project; return the lines it printed: says("tell(reads)"), also pooled=True."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:

        def run(code: str, pooled: bool = False) -> list[str]:
            settings = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
            url = database.url
            if pooled:
                url = request.getfixturevalue("pooler")(database, pool_mode="transaction").url(database)
            status, said = project.run("-c", BEGINS + code, database_url=url, **settings)
            assert status == 0, said
            return said.splitlines()

        yield run


@control(here("tell(reads)", "tell(lambda: retried(reads))"))
def test_django_does_not_ask_again(says) -> None:
    """A query whose connection was lost fails and is not sent again."""
    said = says("tell(reads)")
    assert said == ["OperationalError, 1"]


@control(edit("upstream/orders/retrying.py", "    connection.close()\n    return work()", "    raise Error"))
@control(edit("upstream/orders/retrying.py", "    work = connection.wrap_database_errors(work)\n", ""))
@control(edit("upstream/orders/retrying.py", "        connection.close()  # lost", "        pass  # lost"))
@control(
    edit("upstream/orders/retrying.py", "import Error, ", "import InterfaceError, OperationalError, "),
    edit("upstream/orders/retrying.py", "except Error:", "except (OperationalError, InterfaceError):"),
)
def test_work_that_lost_its_connection_is_done_again(says) -> None:
    """The second call gets a new connection and the result, with or without a transaction in the work.

    Work that reads by COPY is run again as well, although it raises the driver's own error and not Django's. So is work
    that loses its connection to a timeout or behind PgBouncer, for which psycopg 3 raises an InternalError. Where an
    earlier query has lost the connection, the work begins on a new one.
    """
    assert says("tell(lambda: retried(reads))") == ["0, 2"]
    assert says("tell(lambda: retried(reads_in_a_transaction))") == ["0, 2"]
    assert says("tell(lambda: retried(copies))") == ["7, 2"]
    assert says("tell(lambda: retried(falls_silent))") == ["0, 2"]
    assert says("tell(lambda: retried(commits))", pooled=True) == ["0, 2"]
    assert says("tell(reads); tell(lambda: retried(reads))") == ["OperationalError, 1", "0, 2"]
    own = "try: copies()\nexcept connection.Database.OperationalError as error: print(isinstance(error, Error))"
    assert says(own) == ["False"]


# Work whose first call waits, until its session is terminated.
MANY = """
def many():
    with connection.cursor() as cursor:
        cursor.executemany("select pg_sleep(%s)", [[60 if called() == 1 else 0]])
    return "done"

"""


@control(here('"transaction.atomic(many)", "many"', '"many", "many"'))
@control(here('"transaction.atomic(many)", "many"', '"transaction.atomic(many)", "transaction.atomic(many)"'))
def test_behind_pgbouncer_executemany_is_done_again_if_it_is_within_atomic(
    project, server, server_version, migrated, pooler
) -> None:
    """psycopg 3's, when its session is terminated while it runs: by itself it leaves a connection that is not closed.

    Work that fails so is not run again. Within atomic(), at whose end Django closes that connection, it is.
    """
    needs_psycopg_3()
    evidence.on(PostgreSQL=server_version)
    asleep = "select pid from pg_stat_activity where datname = %s and wait_event = 'PgSleep'"
    said = []
    with fresh(server, template=migrated) as database, ThreadPoolExecutor(1) as thread:
        bouncer = pooler(database, pool_mode="transaction")
        settings = {"database_url": bouncer.url(database), "DJANGO_SETTINGS_MODULE": "settings.prod"}
        for work in ("transaction.atomic(many)", "many"):
            runs = thread.submit(project.run, "-c", f"{BEGINS}{MANY}tell(lambda: retried({work}))", **settings)
            (pid,) = until("it runs", lambda: database.admin.execute(asleep, [database.name]).fetchone())
            database.terminate(pid)
            said.append(runs.result()[1].splitlines()[-1])
    assert said == ["done, 2", "OperationalError, 1"]


# Django's pool of two, and work whose first call loses both connections, as in a restart.
RESTARTED = """
connection.settings_dict["CONN_MAX_AGE"] = 0
connection.settings_dict["OPTIONS"]["pool"] = {"min_size": 2, "max_size": 2}
connection.settings_dict["CONN_HEALTH_CHECKS"] = checks
connection.pool.open()
connection.pool.wait()

def restarted():
    if called() == 1:
        end = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = current_user and pid"
        with connection.cursor() as cursor:
            cursor.execute(f"{end} <> pg_backend_pid()")
            cursor.execute(f"{end} = pg_backend_pid()")
    return Order.objects.count()

tell(lambda: retried(restarted))
"""


@control(here("in (True, False)", "in (True, True)"))
@control(here("in (True, False)", "in (False, False)"))
def test_with_djangos_pool_it_takes_health_checks(says) -> None:
    """After a restart all pooled connections are dead: only with health checks does the second call get a good one."""
    needs_a_pool()
    told = [says(f"checks = {checks}{RESTARTED}")[-1] for checks in (True, False)]
    assert told == ["0, 2", "OperationalError, 2"]


@control(
    edit(
        "upstream/orders/retrying.py",
        "        if connection.connection is began_with and not began_with.closed:",
        "        if not began_with:",
    )
)
def test_what_the_server_has_refused_is_not_done_again(says) -> None:
    """A statement that times out and one that violates a constraint are each run only once."""
    assert says("tell(lambda: retried(is_too_slow))") == ["OperationalError, 1"]
    assert says("tell(lambda: retried(breaks_a_rule))") == ["IntegrityError, 1"]


LAZY = """
def lazy():
    if called() == 1:
        end()
    return Order.objects.all()

tell(lambda: len(retried(lazy)))
calls.clear()
tell(lambda: len(retried(lambda: list(lazy()))))
"""


@control(here("says(LAZY", 'says(LAZY.replace("Order.objects.all()", "list(Order.objects.all())")'))
@control(here("says(LAZY", 'says(LAZY.replace("list(lazy())", "lazy()")'))
def test_a_queryset_that_the_work_returns_is_not_asked_again(says) -> None:
    """It is evaluated after retried() has returned, and fails; work that turns it into a list is done again."""
    said = says(LAZY)
    assert said == ["OperationalError, 1", "0, 2"]


@control(edit("upstream/orders/retrying.py", "    if connection.in_atomic_block:", "    if not connection:"))
def test_within_a_transaction_it_refuses(says) -> None:
    """Half a transaction cannot be repeated: it raises RuntimeError before the work begins."""
    code = "transaction.atomic().__enter__(); tell(lambda: retried(reads))"
    assert says(code) == ["RuntimeError, 0"]


@control(edit("upstream/orders/retrying.py", "pk=number, ", "customer=None, "))
@control(here("retried(writes)", "writes()"))
@control(here("retried(adds)", "adds()"))
def test_a_write_may_be_done_twice_unless_it_has_a_key(says) -> None:
    """A write that loses its connection and is run again leaves two orders; under a given number, it leaves one.

    A write that adds to what is there adds twice, although it has a number.
    """
    twice = says("tell(lambda: retried(writes)); print(Order.objects.count())")
    assert twice == ["True, 2", "2"]
    numbered = says(f"{LOSSY}tell(lambda: place(7, 'Bob').pk); print(Order.objects.filter(customer='Bob').count())")
    assert numbered == ["7, 2", "1"]
    added = says("tell(lambda: retried(adds))")
    assert added == ["Bob!!, 2"]


UNREACHABLE = "connection.settings_dict['PORT'] = 1; "
# Django's pool of one, whose connection is in use.
USED_UP = """
connection.settings_dict["CONN_MAX_AGE"] = 0
connection.settings_dict["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1}
other = connection.copy()
other.ensure_connection()
connection.pool.timeout = 0.3
"""


@control(
    edit("upstream/orders/retrying.py", "with connection.cursor():", "if True:"),
    edit("upstream/orders/retrying.py", " and not began_with.closed", ""),
)
@pytest.mark.parametrize("code", [UNREACHABLE, USED_UP], ids=["no server answers", "the pool is used up"])
def test_who_gets_no_connection_does_not_ask_again(says, code) -> None:
    """If no server answers, or the pool's only connection is in use, the work is not begun."""
    if code == USED_UP:
        needs_a_pool()
    assert says(code + "tell(lambda: retried(reads))") == ["OperationalError, 0"]


# A query over a kept connection, while another transaction has the only server connection.
WAITS = """
connection.ensure_connection()
other = connection.copy()
other.set_autocommit(False)
other.cursor().execute("select 1")

def waits():
    called()
    return Order.objects.count()

tell(lambda: retried(waits))
"""


@control(here("default_pool_size=1", "default_pool_size=2"))
def test_who_has_waited_for_pgbouncer_in_vain_waits_again(project, server, server_version, migrated, pooler) -> None:
    """At query_wait_timeout PgBouncer closes the connection, which looks like a loss: the work is begun twice."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
        bouncer.connect(database).close()  # on a busy machine, the login to PostgreSQL may take longer than that
        bouncer.set(query_wait_timeout=2)
        settings = {"database_url": bouncer.url(database), "DJANGO_SETTINGS_MODULE": "settings.prod"}
        said = project.run("-c", BEGINS + WAITS, **settings)
    assert said == (0, "OperationalError, 2\n")


ASKS = """
def asks():
    called()
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        return cursor.fetchone()[0]

tell(lambda: retried(asks))
"""


@control(here("outage(started, database, bouncer)\n        started.leash.signal(SIGSTOP)", "pass"))
@control(here("bouncer.reload(server_login_retry=0)", "pass"), fails_with="PgBouncer is in: not within")
def test_behind_pgbouncer_one_retry_may_come_too_soon(project, cluster, pooler) -> None:
    """PostgreSQL was gone and is back, and server_login_retry is over: work is refused, and so is its retry.

    The work makes PgBouncer log in again. Once that is done, work is served at the first call.
    """
    started = cluster(cluster_name="retry")
    with fresh(started.server) as database:
        # Django's own: otherwise it sets it on a new connection, and may get none.
        database.admin.execute(f"alter role {database.role.name} set timezone = 'UTC'")
        bouncer = pooler(database, pool_mode="transaction", server_login_retry=3600)
        settings = {"database_url": bouncer.url(database), "DJANGO_SETTINGS_MODULE": "settings.prod"}
        outage(started, database, bouncer)
        started.leash.signal(SIGSTOP)  # so that the login takes longer than the retry
        bouncer.reload(server_login_retry=0)
        try:
            said = project.run("-c", BEGINS + ASKS, **settings)
        finally:
            started.leash.signal(SIGCONT)
        assert said == (0, "OperationalError, 2\n")
        until("PgBouncer is in", lambda: ask(bouncer, database) == "served")
        assert project.run("-c", BEGINS + ASKS, **settings) == (0, "1, 1\n")
