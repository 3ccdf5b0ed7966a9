"""Proves docs/how-to/idle-in-transaction.md: an idle transaction, its view, and what ends it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from proven import evidence
from proven.problems import ProblemError
from proven.sources.controls import control, edit, here
from tests.proofs.reference.texts.clients import Psql
from tests.proofs.runbooks.test_pgbouncer_idle_in_transaction import AGES, PIDS, payments
from tests.stack.database import fresh
from tests.stack.upstream import serving
from tests.stack.wait import until


@control(edit("upstream/settings/named.py", 'MIDDLEWARE = [*MIDDLEWARE, "orders.naming.name_the_view"]', ""))
def test_the_last_statement_names_the_view(project, server, server_version, migrated, load, transcript) -> None:
    """While a request waits for another service within a transaction, its last statement names the view."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database, payments() as service:
        settings = {
            "DJANGO_SETTINGS_MODULE": "settings.named",
            "PAYMENTS_HOST": f"127.0.0.1:{service.server_address[1]}",
            "GUNICORN_WORKERS": "1",
        }
        with serving(project, database, **settings) as gunicorn, ThreadPoolExecutor(1) as client:
            service.answer.clear()
            request = client.submit(gunicorn.request, "/orders/pay-and-hold/", "POST")
            try:
                until("it waits for the service", lambda: service.calls or request.done())
                assert not request.done(), gunicorn.said()
                snippet = load("postgres/idle_in_transaction.sql")
                output = database.psql(snippet)
            finally:
                service.answer.set()
            assert request.result()[0] == 200
            gunicorn.note()
    assert "/* orders.payments.pay_and_hold */ INSERT INTO" in output
    transcript(snippet, output, [AGES, PIDS], case="naming-the-view")


# The text that PostgreSQL sees for each way to send a query, from a view with an unnamed URL and a named one.
ASKS = """
import django; django.setup()
from importlib import import_module
from threading import Thread
from django.conf import settings
from django.db import connection
from django.db.models import Func, TextField
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import path
from orders.models import Order
SQL = import_module(connection.Database.__name__ + ".sql").SQL
ASK = "select current_query()"

def execute(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]

def tell(how, said):
    print(how, " ".join(said.split()[:3]))

def elsewhere():
    tell("thread", execute(ASK))
    connection.close()

def view(request):
    Order.objects.create(customer="Ada")
    rows = Order.objects.values_list(Func(function="current_query", output_field=TextField()), flat=True)
    tell("ORM", rows[0])
    tell("execute", execute(ASK))
    tell("composed", execute(SQL(ASK)))
    tell("iterator", next(rows.iterator()))
    other = Thread(target=elsewhere)
    other.start()
    other.join()
    return StreamingHttpResponse(execute(ASK) for _ in range(1))

settings.ROOT_URLCONF = (path("plain/", view), path("named/", view, name="busy"))
for url in ("/plain/", "/named/"):
    tell("stream", Client(SERVER_NAME="127.0.0.1").get(url).getvalue().decode())
"""


# The same without server-side cursors, as behind PgBouncer.
NO_CURSOR = """
from django.conf import settings
settings.DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
"""


@control(here("NO_CURSOR + ASKS", "ASKS"))
@control(edit("upstream/orders/naming.py", "isinstance(sql, str)", "sql"), fails_with="syntax error")
@control(edit("upstream/orders/naming.py", "match.view_name", "match._func_path"))
@control(edit("upstream/orders/naming.py", "with connection.execute_wrapper(named):", "if named:"))
def test_each_query_of_a_view_is_named_but_for_what_it_does_not_send_as_a_text(
    project, server, server_version, migrated
) -> None:
    """Queries get the view's or the URL's name; composed SQL, iterator(), other threads and streams run without one.

    Without server-side cursors iterator() gets it too.
    """
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        said = project.run("-c", ASKS, database_url=database.url, DJANGO_SETTINGS_MODULE="settings.named")
        _, without = project.run(
            "-c", NO_CURSOR + ASKS, database_url=database.url, DJANGO_SETTINGS_MODULE="settings.named"
        )
    expected = [
        line
        for name in ("__main__.view", "busy")
        for line in (
            f"ORM /* {name} */",
            f"execute /* {name} */",
            "composed select current_query()",
            "iterator FETCH FORWARD 2000",
            "thread select current_query()",
            "stream select current_query()",
        )
    ]
    assert said == (0, "\n".join([*expected, ""])), said[1]
    assert "iterator /* busy */" in without.splitlines(), without
    project.note()


@control(here("'100ms'", "'100s'"))
def test_what_a_transaction_has_written_that_is_silent_for_too_long_is_rolled_back(database) -> None:
    """The server ends its session: the next statement fails, and the row that it inserted does not exist."""
    with database.connect() as other:
        other.execute("create table written (n int)")
        with database.connect(autocommit=False) as silent:
            silent.execute("insert into written values (1)")
            # Set only now: on a busy machine it may be idle for that long between BEGIN and the INSERT.
            silent.execute("set idle_in_transaction_session_timeout = '100ms'")
            until("its session is gone, or stays", lambda: len(database.backends()) == 1 or silent_for(database) > 3)
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                silent.execute("select 1")
            silent.close()
        assert other.execute("select count(*) from written").fetchone() == (0,)


@control(here('application_name="worker"', 'application_name="psql"'))
@control(here("Psql(database.url)", 'Psql(database.url + "?application_name=worker")'))
def test_a_transaction_bears_the_name_that_its_program_gives_or_psql(database, load, sessions) -> None:
    """One begun in psql is shown as psql's, and one of a program that gives a name under that name."""
    sessions(database, application_name="worker", autocommit=False).execute("select 1")
    with closing(Psql(database.url)) as psql:
        psql.run("begin")
        rows = database.psql(load("postgres/idle_in_transaction.sql")).splitlines()[2:4]
    assert [row.split("|")[1].strip() for row in rows] == ["worker", "psql"]


@control(edit("postgres/idle_in_transaction.sql", "state_change) as", "xact_start) as"))
@control(edit("postgres/idle_in_transaction.sql", "xact_start) as", "state_change) as"))
def test_silence_counts_from_the_last_statement_and_the_transaction_from_its_begin(database, load, sessions) -> None:
    """A statement sent a second later resets silent_for but not transaction_age, and is shown as last_statement."""
    connection = sessions(database, autocommit=False)
    connection.execute("select 1")
    until("it has been silent for a second", lambda: silent_for(database) > 1)
    connection.execute("select 2")
    output = database.psql(load("postgres/idle_in_transaction.sql"))
    header, row = (output.splitlines()[number].split("|") for number in (0, 2))
    found = dict(zip(map(str.strip, header), map(str.strip, row), strict=True))
    silent, open_for = (seconds(found[name]) for name in ("silent_for", "transaction_age"))
    assert open_for >= silent + 1
    assert found["last_statement"] == "select 2"


def seconds(age: str) -> int:
    """Return the number of seconds in an age such as 0:01:02."""
    hours, minutes, rest = map(int, age.split(":"))
    return 3600 * hours + 60 * minutes + rest


@control(
    here("statement_timeout=1s", "idle_in_transaction_session_timeout=1s"),
    fails_with="it is silent for longer: not within",
)
def test_a_statement_timeout_does_not_end_a_silent_transaction(database) -> None:
    """It applies only while a statement runs: a session that is idle for longer is still there and can continue."""
    with database.connect(options="-c statement_timeout=1s", autocommit=False) as connection:
        connection.execute("select 1")
        until("it is silent for longer", lambda: silent_for(database) > 1.5)
        assert connection.execute("select 2").fetchone() == (2,)


def silent_for(database) -> float:
    """Return how many seconds a session of the database has been idle in transaction, or 0."""
    query = (
        "select coalesce(max(extract(epoch from clock_timestamp() - state_change)), 0)::float"
        " from pg_stat_activity where datname = %s and state = 'idle in transaction'"
    )
    return database.admin.execute(query, [database.name]).fetchone()[0]


@control(edit("postgres/transaction_timeout.sql", "alter role :\"role\" set transaction_timeout = '5min';", ""))
@control(
    here("set transaction_timeout = '1s'", "set statement_timeout = '1s'"),
    fails_with="its session is gone: not within",
)
def test_transaction_timeout_ends_one_that_is_never_silent(database, load, server_version) -> None:
    """From PostgreSQL 17 on it ends busy and idle transactions, with their sessions; earlier versions reject it."""
    snippet = load("postgres/transaction_timeout.sql")
    if int(server_version.partition(".")[0]) < 17:
        with pytest.raises(ProblemError, match='unrecognized configuration parameter "transaction_timeout"'):
            database.psql(snippet, role=database.role.name)
        return
    database.psql(snippet, role=database.role.name)
    with database.connect() as connection:
        assert connection.execute("show transaction_timeout").fetchone() == ("5min",)
    never_silent = "-c transaction_timeout=1s -c idle_in_transaction_session_timeout=60s -c statement_timeout=60s"
    ended = pytest.raises(psycopg.errors.TransactionTimeout, match="due to transaction timeout")
    with database.connect(options=never_silent, autocommit=False) as connection, ended:
        until("the server ends it", lambda: connection.execute("select 1").fetchone() is None)
    until("its session has ended", lambda: database.backends() == [])
    with database.connect(options="-c transaction_timeout=0", autocommit=False) as silent:
        silent.execute("set transaction_timeout = '1s'")
        until("its session is gone", lambda: database.backends() == [])
        with pytest.raises(psycopg.errors.TransactionTimeout):
            silent.execute("select 1")
        silent.close()
