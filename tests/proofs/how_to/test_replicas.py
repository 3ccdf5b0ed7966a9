"""Proves docs/how-to/replicas.md: the example project on a primary and its standby."""

import http.client
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from signal import SIGTERM
from urllib.parse import quote

import psycopg
import psycopg2
import pytest

from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.pooled import Existing
from tests.stack import wait
from tests.stack.console import at_least
from tests.stack.database import Role
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.upstream import Gunicorn, asking, needs_a_pool, serving
from tests.stack.wait import DEADLINE, until

DJANGO = "import django; django.setup()\nfrom orders import replicas\nfrom orders.models import Order\n"
CLIENTS = 8
ROWS = 200
CANCELED = "canceling statement due to conflict with recovery"
READ_ONLY = "in a read-only transaction"
RUN = "select count(*) = 2 from pg_stat_activity where query like 'select pg_sleep(60)%'"
ENDED = "terminating connection due to conflict with recovery"
BOTH = "127.0.0.1,127.0.0.2"  # the primary first
SHUTTING = "FATAL:  the database system is shutting down"


@pytest.fixture(scope="module")
def where(replicas, project) -> dict[str, str]:
    """The settings for the project's two aliases, with its tables made."""
    made = {
        "database_url": replicas.database.url,
        "DATABASE_REPLICA_URL": replicas.copy.url,
        "DJANGO_SETTINGS_MODULE": "settings.replica",
    }
    status, said = project.run("manage.py", "migrate", "--verbosity=0", **made)
    assert status == 0, said
    return made


@pytest.fixture(scope="module")
def gunicorn(replicas, where, project) -> Iterator[Gunicorn]:
    """One worker with four threads."""
    more = {name: value for name, value in where.items() if name != "database_url"}
    with serving(project, replicas.database, GUNICORN_WORKERS="1", **more) as started:
        yield started


@pytest.fixture
def served(gunicorn) -> Iterator["Visitor"]:
    """A visitor that has no cookies yet."""
    yield Visitor(gunicorn.port)
    gunicorn.note()


class Visitor:
    """A browser: it sends the cookies that it was given."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(self, path: str = "/orders/", body: str | None = None) -> str:
        """Send a GET, or a POST with this body; return the response's text."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request("POST" if body else "GET", path, body, {**headers, **form})
            response = connection.getresponse()
            text = response.read().decode()
            assert response.status < 400, text
            for name, value in re.findall(r"(\w+)=([^;]*)", response.getheader("Set-Cookie", "").partition(";")[0]):
                self.cookies[name] = value.strip('"')
                if not self.cookies[name]:
                    del self.cookies[name]
        return text


# ---- who reads where -----------------------------------------------------------------------------------------


@control(edit("upstream/orders/replicas.py", 'return "primary"', 'return "replica"'))
@control(
    edit(
        "upstream/orders/replicas.py", 'return "replica" if reads.get() == "replica" else "default"', 'return "default"'
    )
)
@control(edit("upstream/orders/replicas.py", "response.delete_cookie(COOKIE)", "pass"))
def test_a_visitor_reads_what_they_wrote_and_others_read_from_the_replica(pair, served) -> None:
    """This holds with replay paused; once the replica has the write, the visitor reads from it and loses the cookie."""
    other = Visitor(served.port)
    with pair.standing_still():
        served.ask(body="customer=Alan")
        assert "Alan" in served.ask()
        assert "Alan" not in other.ask()
        assert "written_at" in served.cookies
    until("others read it", lambda: "Alan" in other.ask())
    assert "Alan" in served.ask()
    assert served.cookies == {}


@control(edit("upstream/orders/replicas.py", "response.delete_cookie(COOKIE)", "pass"))
def test_an_answer_that_comes_after_the_write_takes_its_cookie_away(pair, served) -> None:
    """Of two concurrent requests, the one sent with an older cookie ends last and deletes the writer's new cookie."""
    served.ask(body="customer=Ada")
    pair.catch_up()
    earlier = Visitor(served.port)
    earlier.cookies = {**served.cookies}
    with pair.standing_still():
        served.ask(body="customer=Katherine")
        assert "Katherine" in served.ask()
        earlier.ask()
        served.cookies = earlier.cookies  # a browser has one cookie jar
        assert "Katherine" not in served.ask()
    assert served.cookies == {}


ROUTES = (
    """
import sys; sys.path.insert(0, {folder!r})
from django.conf import settings; settings.DATABASE_ROUTERS = [{router!r}]
"""
    + DJANGO
    + """
from django.db import transaction
replicas.reads.set({reads!r})
order = Order.objects.create(customer="Grace")
mine = Order.objects.filter(pk=order.pk)
print(mine.exists())
replicas.reads.set({reads!r})
print(mine.exists())
with transaction.atomic():
    print(mine.exists())
"""
)
NAIVE = """
class Router:
    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"
"""


@pytest.fixture
def routes(pair, project, where, tmp_path) -> Callable[..., list[str]]:
    """Run ROUTES while replay on the replica is paused."""
    (tmp_path / "naive.py").write_text(NAIVE)

    def run(router: str, reads: str) -> list[str]:
        with pair.standing_still():
            code = ROUTES.format(folder=str(tmp_path), router=router, reads=reads)
            status, said = project.run("-c", code, **where)
        assert status == 0, said
        return said.split()

    return run


@control(here('"naive.Router"', '"orders.replicas.Router"'))
def test_a_router_that_reads_from_the_replica_alone_misses_what_was_written(routes) -> None:
    """The row is committed on the primary but not yet on the replica; reads within atomic() miss it, too."""
    found = routes("naive.Router", "replica")
    assert found == ["False", "False", "False"]


@control(edit("upstream/orders/replicas.py", 'if connections["default"].in_atomic_block:', "if False:"))
@control(edit("upstream/orders/replicas.py", 'reads.set("written")', "pass"))
def test_what_has_written_reads_from_the_primary_and_so_does_a_transaction(routes) -> None:
    """A request reads from the replica until it writes, and from the primary after that and within atomic()."""
    assert routes("orders.replicas.Router", "replica") == ["True", "False", "True"]


WRITES = (
    """
import sys; sys.path.insert(0, {folder!r})
from django.conf import settings; settings.DATABASE_ROUTERS = ["reads.Router"]
"""
    + DJANGO
    + """
from django.db import InternalError
order = Order.objects.using("replica").get(customer="Barbara")
for write in order.save, order.delete:
    try:
        write()
        print("written")
    except InternalError as error:
        print(error)
"""
)


@control(here('NAIVE.partition("    def db_for_write")[0]', "NAIVE"))
def test_a_router_that_names_no_primary_writes_to_the_replica(pair, project, where, tmp_path) -> None:
    """With db_for_read alone, what the replica gave is neither saved nor deleted."""
    assert project.run("-c", f'{DJANGO}Order.objects.create(customer="Barbara")', **where)[0] == 0
    pair.catch_up()
    (tmp_path / "reads.py").write_text(NAIVE.partition("    def db_for_write")[0])
    status, said = project.run("-c", WRITES.format(folder=str(tmp_path)), **where)
    assert status == 0, said
    refused = [f"cannot execute {what} in a read-only transaction" for what in ("UPDATE", "DELETE")]
    assert [line for line in said.splitlines() if line] == refused


# Views that write in one way each; each request's answer says whether it counts as a write.
COUNTS = """
import asyncio, threading
import django; django.setup()
from django.conf import settings
from django.db import connection, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path
from orders.models import Order

def create(alias=None):
    Order.objects.using(alias).create(customer="Edsger")

def raw():
    with connection.cursor() as cursor:
        cursor.execute("update orders_order set customer = customer")

def elsewhere():
    create()
    connections.close_all()

def thread():
    started = threading.Thread(target=elsewhere)
    started.start()
    started.join()

def body():
    create()
    yield "written"

def says(work):
    def view(request):
        work()
        return HttpResponse()
    return view

async def task(request):
    await asyncio.create_task(Order.objects.acreate(customer="Edsger"))
    return HttpResponse()

async def awaits(request):
    await Order.objects.acreate(customer="Edsger")
    return HttpResponse()

async def gathers(request):
    await asyncio.gather(Order.objects.acreate(customer="Edsger"))
    return HttpResponse()

works = {"plain": create, "alias": lambda: create("default"), "raw": raw, "thread": thread, "none": lambda: None}
views = {name: says(work) for name, work in works.items()}
views |= {"awaits": awaits, "task": task, "gathers": gathers, "body": lambda request: StreamingHttpResponse(body())}
settings.ROOT_URLCONF = tuple(path(f"{name}/", view) for name, view in views.items())
client = Client(SERVER_NAME="127.0.0.1")
for method, name in [*(("get", name) for name in views), ("head", "raw"), ("post", "none"), ("delete", "none")]:
    client.cookies.clear()
    sent = getattr(client, method)(f"/{name}/")
    assert sent.status_code == 200
    if sent.streaming:
        assert sent.getvalue() == b"written"
    if "written_at" in sent.cookies:
        print(method, name)
"""


@control(edit("upstream/orders/replicas.py", "if request.method not in SAFE:", "if request.path != '/none/':"))
@control(edit("upstream/orders/replicas.py", "if request.method not in SAFE:", "if request.method == 'HEAD':"))
@control(edit("upstream/orders/replicas.py", 'reads.set("written")', "pass"))
@pytest.mark.usefixtures("pair")
def test_a_write_that_the_router_does_not_see_is_not_noticed(project, where) -> None:
    """A GET that writes counts, but not by raw SQL, to a named alias, in a thread, a task, gather() or a streamed body.

    Nor does a HEAD that does so, while a POST and a DELETE count even if they write nothing.
    """
    assert project.run("-c", COUNTS, **where) == (0, "get plain\nget awaits\npost none\ndelete none\n")


# A GET that writes only to its session, which is in the database, and one that reads it.
SESSIONS = """
import django
from django.conf import settings
settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sessions"]
django.setup()
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from django.urls import path

def keep(request):
    request.session["who"] = "Ada"
    return HttpResponse()

def tell(request):
    return HttpResponse(request.session.get("who", "nobody"))

settings.ROOT_URLCONF = (path("keep/", keep), path("tell/", tell))
own, sessions = settings.MIDDLEWARE[0], "django.contrib.sessions.middleware.SessionMiddleware"
for settings.MIDDLEWARE in ([own, sessions], [sessions, own]):
    client = Client(SERVER_NAME="127.0.0.1")
    client.get("/keep/")
    print(client.get("/tell/").content.decode())
"""


@control(here('"-c", SESSIONS', '"-c", SESSIONS.replace("[own, sessions],", "[sessions, own],")'))
@control(here('"-c", SESSIONS', '"-c", SESSIONS.replace(" [sessions, own]", " [own, sessions]")'))
def test_a_session_is_noticed_where_the_middleware_stands_first(pair, project, where) -> None:
    """Before SessionMiddleware a GET that saves a session counts as a write; behind it the next request has none."""
    made = SESSIONS.partition("from django.http")[0] + 'call_command("migrate", "sessions", verbosity=0)'
    assert project.run("-c", made, **where) == (0, "")
    with pair.standing_still():
        said = project.run("-c", SESSIONS, **where)
    assert said == (0, "Ada\nnobody\n")


# ATOMIC_REQUESTS of `default`, and of the replica's alias where that has copied it.
ATOMIC = """
import django; django.setup()
from django.conf import settings
from django.db import connections, transaction
from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.urls import path
from django.views.generic import ListView
from orders.models import Order

replica = connections["replica"]
connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
replica.settings_dict["ATOMIC_REQUESTS"] = copied

def reads(request):
    return HttpResponse(Order.objects.all().db + " in a transaction" * replica.in_atomic_block)

@transaction.non_atomic_requests
def exempt(request):
    return reads(request)

class Rendered(SimpleTemplateResponse):
    rendered_content = property(lambda self: self.context_data["object_list"].db)

class Listed(ListView):
    model = Order

    def render_to_response(self, context):
        return Rendered(None, context)

views = {"plain": reads, "exempt": exempt, "listed": Listed.as_view()}
settings.ROOT_URLCONF = tuple(path(f"{name}/", view) for name, view in views.items())
for name in views:
    replica.close()
    said = Client(SERVER_NAME="127.0.0.1").get(f"/{name}/").content.decode()
    print(f"{name}: {said}", ", connected" * (replica.connection is not None), sep="")
"""


@control(edit("upstream/orders/replicas.py", 'if connections["default"].in_atomic_block:', "if False:"))
@control(here("copied = {copied}", "copied = False"))
@control(here("copied = {copied}", "copied = True"))
@pytest.mark.usefixtures("pair")
def test_atomic_requests_belongs_to_the_primary_alone(project, where) -> None:
    """With it, views read from the primary; those that are exempt, and what is rendered later, from the replica.

    Where the replica's alias has it as well, each view has a transaction there, an exempt one too.
    """

    def said(copied: bool) -> list[str]:
        return project.run("-c", f"copied = {copied}\n{ATOMIC}", **where)[1].splitlines()

    assert said(False) == ["plain: default", "exempt: replica", "listed: replica"]
    inside = "in a transaction, connected"
    assert said(True) == [f"plain: default {inside}", f"exempt: replica {inside}", "listed: replica, connected"]


STREAMED = (
    DJANGO
    + """
from django.conf import settings
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import path

mine = Order.objects.filter(pk=Order.objects.create(customer="Hedy").pk)

def view(request):
    def body():
        yield f"the body: {mine.exists()}"
    print("the view:", mine.exists())
    return StreamingHttpResponse(body())

settings.ROOT_URLCONF = (path("streamed/", view),)
sent = Client(SERVER_NAME="127.0.0.1").get("/streamed/")
print(sent.getvalue().decode())
"""
)


@control(edit("upstream/orders/replicas.py", 'reads.get() == "replica" else', 'reads.get() != "written" else'))
@control(edit("upstream/orders/replicas.py", "reads.reset(token)", "pass"))
@control(here('"-c", STREAMED', '"-c", STREAMED.replace("body())", "[*body()])")'))
@control(here('"-c", STREAMED', '"-c", STREAMED.replace(".get(", ".post(")'))
def test_outside_of_requests_everything_reads_from_the_primary(routes, pair, project, where) -> None:
    """So do commands and workers, and a streamed response's body, although its view reads from the replica."""
    assert routes("orders.replicas.Router", "outside") == ["True", "True", "True"]
    with pair.standing_still():
        said = project.run("-c", STREAMED, **where)
    assert said == (0, "the view: False\nthe body: True\n")


@control(edit("upstream/orders/replicas.py", 'if connections["default"].in_atomic_block:', "if False:"))
def test_djangos_tests_need_the_primary_alone(pair, project, where) -> None:
    """With both URLs the same, a TestCase sees its own writes through requests that only read."""
    pair.database.admin.execute(f"alter role {pair.database.role.name} createdb")
    both = {**where, "DATABASE_REPLICA_URL": where["database_url"]}
    status, said = project.run("manage.py", "test", "orders", "--verbosity=0", **both)
    assert status == 0, said
    assert "Ran 1 test" in said


READS_AGAIN = """
from django.test import TestCase

class Default(TestCase):
    def test_an_order_is_listed_after_a_post(self):
        self.client.post("/orders/", {"customer": "Ada"})
        listed = self.client.get("/orders/").json()["orders"]
        self.assertEqual([order["customer"] for order in listed], ["Ada"])

class Both(Default):
    databases = {"default", "replica"}
"""


@control(edit("upstream/orders/replicas.py", 'not ask("replica"', 'not ask("default"'))
def test_a_test_that_posts_and_then_reads_names_both_databases(pair, project, where) -> None:
    """With both URLs the same, Django forbids the middleware's query otherwise."""
    pair.database.admin.execute(f"alter role {pair.database.role.name} createdb")
    both = {**where, "DATABASE_REPLICA_URL": where["database_url"]}
    module = project.folder / "orders/test_reads_again.py"
    module.write_text(READS_AGAIN)
    try:
        asked = [
            project.run("manage.py", "test", f"orders.test_reads_again.{name}", "--verbosity=0", **both)
            for name in ("Default", "Both")
        ]
    finally:
        module.unlink()
    assert [status for status, _ in asked] == [1, 0], asked
    assert "Database queries to 'replica' are not allowed" in asked[0][1]


MIRRORED = (
    DJANGO
    + """
from django.db import connections
from django.test.runner import DiscoverRunner
replica = connections["replica"].settings_dict
replica["TEST"]["MIRROR"] = "default"
runner = DiscoverRunner(verbosity=0, interactive=False)
made = runner.setup_databases(aliases={"default", "replica"})
print(replica["HOST"], replica["NAME"])
runner.teardown_databases(made)
"""
)


@control(here('"-c", MIRRORED', '"-c", MIRRORED.replace(\'= "default"\', "= None")'))
def test_mirror_leads_to_the_test_database_on_the_replica(pair, project, where) -> None:
    """Django creates no database there and changes only the name: the host is still the replica's."""
    pair.database.admin.execute(f"alter role {pair.database.role.name} createdb")
    said = project.run("-c", MIRRORED, **where)
    assert said == (0, f"127.0.0.2 test_{pair.database.name}\n")


# ---- connections ---------------------------------------------------------------------------------------------


@control(
    edit("upstream/gunicorn.conf.py", '"GUNICORN_THREADS", "4"', '"GUNICORN_THREADS", "3"'),
    fails_with="every thread has both: not within",
)
@control(edit("upstream/settings/replica.py", "    **replica,\n", ""), fails_with="every thread has both: not within")
def test_each_thread_keeps_a_connection_to_each_side(pair, served) -> None:
    """Four threads keep four on the primary and four on the replica, and never more, with CONN_MAX_AGE."""
    sides, most = {"primary": pair.database, "replica": pair.copy}, Counter()
    for database in sides.values():  # others' that have not ended yet, and those that may reach their age meanwhile
        for pid in database.backends():
            database.terminate(pid)

    def both() -> bool:
        for side, database in sides.items():
            most[side] = max(most[side], len(database.backends()))
        return min(most.values()) >= 4

    with asking(lambda: served.ask("/orders/report/?seconds=0.05"), CLIENTS):
        until("every thread has both", both)
    assert most == {"primary": 4, "replica": 4}


POOLS = (
    DJANGO
    + """
from django.db import connections
for alias in connections:
    connections[alias].settings_dict["CONN_MAX_AGE"] = 0
    connections[alias].settings_dict["OPTIONS"]["pool"] = {"min_size": 3, "max_size": 3}
    connections[alias].pool.open(wait=True)
    print(alias, connections[alias].pool.get_stats()["pool_size"])
"""
)


@control(
    here(
        "POOLS, **where",
        'POOLS.replace("connections[alias].pool.open", "alias = \'default\'; connections[alias].pool.open"), **where',
    )
)
def test_each_alias_has_a_pool_of_its_own(project, where) -> None:
    """With Django's pool, each alias opens three of its own."""
    needs_a_pool()
    said = project.run("-c", POOLS, **where)
    assert said == (0, "default 3\nreplica 3\n")


# ---- what the replica cancels --------------------------------------------------------------------------------


@pytest.fixture
def rows(pair):
    """A connection to the primary, with a table of rows; the replica's settings are reset afterwards."""
    with pair.database.connect() as writer:
        writer.execute(f"drop table if exists item; create table item as select generate_series(1, {ROWS}) as id")
        yield writer
    pair.copy.admin.execute("alter system reset all")
    pair.copy.admin.execute("select pg_reload_conf()")
    until("the primary is told of nothing any more", lambda: not told(pair))


def impatient(pair, delay: str = "0") -> None:
    """Have replay wait this long for queries."""
    pair.copy.admin.execute(f"alter system set max_standby_streaming_delay = '{delay}'")
    pair.copy.admin.execute("select pg_reload_conf()")
    show = "select setting from pg_settings where name = 'max_standby_streaming_delay'"
    until("it is so", lambda: pair.copy.admin.execute(show).fetchone() == (delay,))


def clear(writer: psycopg.Connection) -> None:
    """Delete every row, and vacuum away what is left."""
    writer.execute("delete from item")
    writer.execute("vacuum (truncate off) item")


def dead(writer: psycopg.Connection) -> int:
    """Return how many dead rows the primary keeps."""
    return writer.execute("select pg_stat_get_dead_tuples('item'::regclass)").fetchone()[0]


def told(pair) -> bool:
    """Return whether feedback from the replica has reached the primary."""
    query = "select count(backend_xmin) = 1 from pg_stat_replication"
    return pair.database.admin.execute(query).fetchone()[0]


def begin(pair, reader: psycopg.Connection) -> None:
    """Begin a transaction that keeps the replica's current snapshot."""
    pair.catch_up()
    reader.execute("begin isolation level repeatable read")
    reader.execute("select from item")


@control(here("impatient(pair)", 'impatient(pair, "-1")'))
@control(here("begin; savepoint one", "begin"))
@control(here('rests.execute("begin")', "begin(pair, rests)"))
@control(here('"alter table item add remark text"', '"select 1"'))
@control(
    edit("replicas/conflicts.sql", "datname = current_database()", "false"), fails_with="it is counted: not within"
)
def test_a_replica_cancels_what_needs_rows_that_it_must_remove(pair, rows, load) -> None:
    """A running query is cancelled; a session that is idle or in a savepoint is ended, with 40001. All are counted.

    One that is idle in READ COMMITTED is spared when rows are removed, and ended when its table is locked.
    """
    counted = load("replicas/conflicts.sql")

    def counts() -> list[int]:
        return [int(number) for number in re.findall(r"\| +(\d+)", pair.copy.psql(counted))]

    impatient(pair)
    before = counts() or [0] * 4
    limit = f"-c statement_timeout={wait.DEADLINE:.0f}s"
    busy, inner = pair.copy.connect(options=limit), pair.copy.connect(options=limit)
    rests = pair.copy.connect()
    with busy, inner, rests, pair.copy.connect() as idle, ThreadPoolExecutor(2) as threads:
        begin(pair, idle)
        rests.execute("begin")
        rests.execute("select from item")
        inner.execute("begin; savepoint one")
        asleep = [threads.submit(heard, each.execute, "select pg_sleep(60) from item") for each in (busy, inner)]
        # They are active a moment before they see any rows; when they sleep, they have seen one.
        until("both sleep", lambda: pair.copy.admin.execute(f"{RUN} and wait_event = 'PgSleep'").fetchone() == (True,))
        clear(rows)
        assert [each.result() for each in asleep] == [CANCELED, ENDED]
        pair.catch_up()
        with pytest.raises(psycopg.OperationalError, match=ENDED) as error:
            idle.execute("select from item")
        assert error.value.sqlstate == "40001"
        assert heard(rests.execute, "select from item") == ""
        until("it is counted", lambda: counts() == [before[0] + 3, *before[1:]])
        rows.execute("alter table item add remark text")
        pair.catch_up()
        assert heard(rests.execute, "select from item") == ENDED


@control(edit("replicas/feedback.sql", "= on", "= off"))
@control(here("select pg_sleep(60) from item", "select pg_sleep(5)"))
def test_feedback_saves_the_query_and_the_primary_keeps_its_rows(pair, rows, load) -> None:
    """No query is cancelled over removed rows, because vacuum keeps them; it does not help against a lock.

    Then a running query is cancelled, and a session that is idle in its transaction is ended.
    """
    impatient(pair)
    pair.copy.psql(load("replicas/feedback.sql"))
    busy = pair.copy.connect(options=f"-c statement_timeout={wait.DEADLINE:.0f}s")
    sleeps = "select count(*) = 1 from pg_stat_activity where wait_event = 'PgSleep'"
    with busy, pair.copy.connect() as reader, ThreadPoolExecutor(1) as thread:
        begin(pair, reader)
        running = thread.submit(heard, busy.execute, "select pg_sleep(60) from item")
        until("it runs", lambda: pair.copy.admin.execute(sleeps).fetchone() == (True,))
        if pair.copy.admin.execute("show hot_standby_feedback").fetchone() == ("on",):
            until("the primary is told", lambda: told(pair))
        clear(rows)
        pair.catch_up()
        assert heard(reader.execute, "select from item") == ""
        until("they are counted", lambda: dead(rows) >= ROWS)  # before PostgreSQL 15 a row may be counted twice
        assert not running.done()
        rows.execute("alter table item add remark text")
        pair.catch_up()
        assert running.result() == CANCELED
        assert heard(reader.execute, "select from item") == ENDED


@control(here("fetch 5 from", "fetch all from"))
@control(here('"declare held', '"begin; declare held'))
def test_feedback_saves_no_cursor_that_stands_on_a_page_which_is_cleared(pair, rows, load) -> None:
    """Vacuuming rows that are dead to all from its page ends the session, although feedback has reached the primary.

    A cursor with hold outside of a transaction, as iterator() has it there, stands on no page and goes on.
    """
    impatient(pair)
    rows.execute("delete from item where id > %s", [ROWS // 2])
    pair.catch_up()
    with pair.copy.connect() as reader, pair.copy.connect() as other:
        other.execute("declare held cursor with hold for select from item")
        assert other.execute("fetch 1 from held").rowcount == 1
        reader.execute("begin; declare pinned cursor for select from item; fetch 5 from pinned")
        pair.copy.psql(load("replicas/feedback.sql"))  # only now, so that it reports no earlier transaction
        until("the primary is told", lambda: told(pair))
        rows.execute("vacuum (truncate off) item")
        pair.catch_up()
        assert heard(reader.execute, "fetch 5 from pinned") == ENDED
        assert heard(other.execute, "fetch 1 from held") == ""


@control(edit("replicas/patience.sql", "'5min'", "'0'"), fails_with="what is replayed waits: not within")
def test_patience_saves_the_query_and_the_replica_falls_behind(pair, rows, load) -> None:
    """The query keeps its rows, and the replica shows nobody later writes until the transaction ends.

    It does not show them when the query has ended, although a READ COMMITTED transaction then needs no rows.
    """
    pair.copy.psql(load("replicas/patience.sql"))
    with pair.copy.connect() as reader, pair.copy.connect() as other:
        pair.catch_up()
        reader.execute("begin; declare rest cursor for select from item")
        clear(rows)
        rows.execute("insert into item values (0)")
        waits = "select wait_event like 'RecoveryConflict%' from pg_stat_activity where backend_type = 'startup'"
        until("what is replayed waits", lambda: pair.copy.admin.execute(waits).fetchone() == (True,))
        assert reader.execute("fetch all from rest").rowcount == ROWS
        reader.execute("close rest")
        assert other.execute("select count(*) from item where id = 0").fetchone() == (0,)
        reader.execute("commit")
        pair.catch_up()
        assert other.execute("select count(*) from item where id = 0").fetchone() == (1,)


@control(edit("replicas/lag.sql", "pg_current_wal_lsn(), replay_lsn", "replay_lsn, replay_lsn"))
def test_lag_sql_shows_how_far_a_replica_is_behind(pair, rows, load) -> None:
    """It shows a paused standby by name, with its lag in kB."""
    with pair.standing_still():
        rows.execute("insert into item select generate_series(1, 1000)")
        said = pair.database.psql(load("replicas/lag.sql"))
    assert re.search(r"^ standby +\| streaming +\| async +\| \d+ kB ", said, re.MULTILINE), said


# ---- several hosts -------------------------------------------------------------------------------------------


@control(here('"prefer-standby"', '"any"'))
@control(
    here('load_balance_hosts="random"', 'load_balance_hosts="disable"'), fails_with="each host is taken: not within"
)
@pytest.mark.parametrize("driver", [psycopg, psycopg2])
def test_several_hosts_are_asked_whether_they_are_a_standby(driver, pair) -> None:
    """By default the first that answers is used; prefer-standby falls back to the primary; random picks any of them."""

    def taken(hosts: str, **options: str) -> str:
        role = pair.database.role
        who = {"user": role.name, "password": role.password, "dbname": pair.database.name}
        with closing(driver.connect(host=hosts, port=pair.primary.server.port, **who, **options)) as client:
            return client.info.host

    assert taken(BOTH) == taken("127.0.0.3,127.0.0.1") == "127.0.0.1"
    wish = {"target_session_attrs": "prefer-standby"}
    assert taken(BOTH, **wish) == "127.0.0.2"
    assert taken("127.0.0.1,127.0.0.3", **wish) == "127.0.0.1"
    seen = set()
    until("each host is taken", lambda: seen.add(taken(BOTH, load_balance_hosts="random")) or len(seen) == 2)


@control(here("connection limit 1", "connection limit 2"))
def test_psycopg_3_alone_passes_over_a_host_that_refuses_a_login(pair) -> None:
    """If the first host has too many connections for the role, psycopg 3 takes the second; psycopg2 fails with that."""
    role = Role(pair.primary.server, "connection limit 1")
    pair.catch_up()
    who = {"user": role.name, "password": role.password, "dbname": pair.database.name}
    where = {"host": BOTH, "port": pair.primary.server.port}
    with closing(psycopg.connect(**where, **who)) as first, closing(psycopg.connect(**where, **who)) as second:
        assert (first.info.host, second.info.host) == ("127.0.0.1", "127.0.0.2")
        with pytest.raises(psycopg2.OperationalError, match="too many connections for role"):
            psycopg2.connect(**where, **who)


@control(here("leash.signal(SIGTERM)", "restart()"), fails_with="it is shutting down: not within")
def test_both_drivers_pass_over_a_host_that_is_shutting_down(pair) -> None:
    """Its error, 57P03, is also that of a server that is starting up."""
    who = {"user": pair.database.role.name, "password": pair.database.role.password, "dbname": pair.database.name}
    first = Cluster(cluster_name="first")
    try:
        with first.server.connect():  # for which it waits
            first.leash.signal(SIGTERM)
            both = (first.server, pair.primary.server)
            last = {"host": both[0].host, "port": both[0].port}
            until("it is shutting down", lambda: heard(psycopg2.connect, **last, **who) == SHUTTING)
            hosts = {"host": ",".join(one.host for one in both), "port": ",".join(str(one.port) for one in both)}
            for driver in (psycopg, psycopg2):
                with closing(driver.connect(**hosts, **who)) as client:
                    assert int(client.info.port) == both[1].port
    finally:
        first.stop()


ASK = (
    DJANGO
    + """
from django.db import connections
with connections["replica"].cursor() as cursor:
    cursor.execute("show cluster_name")
    print(*cursor.fetchone())
"""
)


@control(here("prefer-standby", "any"))
def test_the_url_of_the_replica_may_name_several_hosts(pair, project, where) -> None:
    """Hosts are separated by commas, with one port, and target_session_attrs follows as a query parameter."""
    role, port = pair.database.role, pair.primary.server.port
    place = f"{role.name}:{quote(role.password)}@{BOTH}:{port}/{pair.database.name}"
    url = f"postgresql://{place}?target_session_attrs=prefer-standby"
    assert project.run("-c", ASK, **{**where, "DATABASE_REPLICA_URL": url}) == (0, "standby\n")


@control(here("host=BOTH", 'host="127.0.0.1"'))
def test_pgbouncer_takes_hosts_in_turn_and_asks_none_what_it_is(pair, pooler) -> None:
    """One of two clients cannot write. From 1.24 on, load_balance_hosts=disable stays with the first that answers."""
    several = Existing(replace(pair.primary.server, host=BOTH), pair.database.name, pair.database.role)

    def reached(options: str = "") -> list[str]:
        bouncer = pooler(several, options=options, pool_mode="transaction", default_pool_size=2)
        names = []
        with bouncer.connect(several, autocommit=False) as one, bouncer.connect(several, autocommit=False) as other:
            for client in (one, other):
                names += client.execute("show cluster_name").fetchone()
                fails = heard(client.execute, "create temporary table item (id int)")
                assert fails == ("" if names[-1] == "primary" else f"cannot execute CREATE TABLE {READ_ONLY}")
        return names

    assert sorted(reached()) == ["primary", "standby"]
    if at_least(1, 24):
        assert reached("load_balance_hosts=disable") == ["primary", "primary"]
    several.leave()


@control(here("server_round_robin=1", "server_round_robin=0"))
@control(here("lifo = asked()", "lifo = asked(server_round_robin=1)"))
@control(here("alone = answers(bouncer)", "alone = [open_both(bouncer), *answers(bouncer)][1:]"))
def test_round_robin_has_a_client_ask_every_host_of_the_list(pair, pooler) -> None:
    """Both hosts have a connection. By default the one that was used last is used again, and the other host rests.

    While the pool has one connection, that one answers every query.
    """
    several = Existing(replace(pair.primary.server, host=BOTH), pair.database.name, pair.database.role)

    def open_both(bouncer: PgBouncer) -> None:
        with bouncer.connect(several, autocommit=False) as one, bouncer.connect(several, autocommit=False) as other:
            both = {client.execute("show cluster_name").fetchone()[0] for client in (one, other)}
        assert both == {"primary", "standby"}

    def answers(bouncer: PgBouncer) -> list[str]:
        """Return which host answers a client that queries alone, query by query."""
        with bouncer.connect(several, prepare_threshold=None) as client:
            return [client.execute("show cluster_name").fetchone()[0] for _ in range(8)]

    def asked(**settings: object) -> list[str]:
        bouncer = pooler(several, pool_mode="transaction", default_pool_size=2, **settings)
        alone = answers(bouncer)
        assert len({*alone}) == 1
        open_both(bouncer)
        return answers(bouncer)

    lifo = asked()
    turns = asked(server_round_robin=1)
    several.leave()
    assert len({*lifo}) == 1
    assert sorted(turns[:2]) == ["primary", "standby"]
    assert turns == turns[:2] * 4
