"""Proves docs/how-to/tenants.md: django-tenants itself, served by Gunicorn to two tenants at the same time."""

import http.client
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import distributions
from itertools import cycle, islice
from typing import Any

import django
import psycopg
import pytest

from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from setup import others
from tests.stack import pgbouncer
from tests.stack.database import Database, Role, fresh
from tests.stack.fixtures import note_postgres
from tests.stack.upstream import Gunicorn, Project, serving
from tests.stack.wait import DEADLINE, until

TENANTS = ("acme", "bolt")
THREADS = 4
WAVE = 24  # requests, half for each tenant
# Creates the shared tables, then each tenant with its schema, and in it an order that has the tenant's name.
MAKES = f"""
import django
django.setup()
from django.core.management import call_command
call_command("makemigrations", "tenants", verbosity=0)
call_command("migrate_schemas", shared=True, verbosity=0)
from django_tenants.utils import tenant_context
from orders.models import Order
from tenants.models import Domain, Tenant
for name, host in {{"public": "127.0.0.1", **{{name: f"{{name}}.example" for name in {TENANTS}}}}}.items():
    tenant = Tenant.objects.create(schema_name=name)
    Domain.objects.create(domain=host, tenant=tenant)
    if name != "public":
        with tenant_context(tenant):
            Order.objects.create(customer=name)
"""


@pytest.fixture(scope="module")
def made(server, project) -> Iterator[Database]:
    """A database with two tenants, made past PgBouncer."""
    if django.VERSION < (5, 2):
        pytest.skip("needs Django 5.2, as django-tenants 4 does")
    written(project)
    with fresh(server) as database:
        settings = {"DJANGO_SETTINGS_MODULE": "tenants.settings", "packages": ("tenants",)}
        status, said = project.run("-c", MAKES, database_url=database.url, **settings)
        assert status == 0, said
        yield database
    shutil.rmtree(project.folder / "tenants")


def written(project: Project) -> list[snippets.Snippet]:
    """Put the page's files beside the project's."""
    return snippets.export(project.folder / "tenants", below="tenants")


@pytest.fixture
def serve(made, project, pooler, server_version) -> Iterator[Callable[..., Gunicorn]]:
    """Serve both tenants behind PgBouncer: serve("tenants.settings", pool_mode="session")."""
    note_postgres(server_version)
    (installed,) = distributions(name="django-tenants", path=[str(others.packages("tenants"))])
    evidence.on(**{"django-tenants": installed.version})
    files = {snippet.path: snippet for snippet in written(project)}
    with ExitStack() as ends:

        def start(settings: str, **of_pgbouncer: object) -> Gunicorn:
            bouncer = pooler(made, **of_pgbouncer)
            environment = {
                "DJANGO_SETTINGS_MODULE": settings,
                "DJANGO_ALLOWED_HOSTS": ".example,127.0.0.1",
                "DATABASE_URL": bouncer.url(made),
                "GUNICORN_WORKERS": "1",
                "GUNICORN_THREADS": str(THREADS),
            }
            gunicorn = ends.enter_context(serving(project, made, packages=("tenants",), **environment))
            gunicorn.note()
            for path in ("tenants/models.py", f"{settings.replace('.', '/')}.py"):
                evidence.ran(files[path])
            return gunicorn

        yield start


def ask(gunicorn: Gunicorn, tenant: str) -> tuple[int, Any]:
    """Send a request to a tenant's host, and return the status and the JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", gunicorn.port, timeout=DEADLINE)
    try:
        connection.request("GET", "/orders/", headers={"Host": f"{tenant}.example"})
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if response.status == 200 else {}
    finally:
        connection.close()


def asked(gunicorn: Gunicorn) -> dict[str, int]:
    """Request both tenants' orders concurrently; return how many were right, the other's, an error, or neither."""

    def answer(tenant: str) -> str:
        status, found = ask(gunicorn, tenant)
        customers = {order["customer"] for order in found.get("orders", [])}
        if (status, customers) == (200, {tenant}):
            return "right"
        return "error" if status == 500 else "mixed" if customers & {*TENANTS} else "none"

    with ThreadPoolExecutor(2 * THREADS) as clients:
        return Counter(clients.map(answer, islice(cycle(TENANTS), WAVE)))


def followed(server_version: str) -> bool:
    """Return whether PgBouncer tracks each client's search_path, because PostgreSQL reports it."""
    return [int(part) for part in pgbouncer.version().split(".")[:2]] >= [1, 26] and int(server_version[:2]) >= 18


@control(here("if followed(server_version)", "if not followed(server_version)"), fails_with="orders: not within")
def test_tenants_read_each_others_rows_in_transaction_mode(serve, server_version) -> None:
    """With unmodified django-tenants some requests also fail; PgBouncer 1.26 with PostgreSQL 18 keeps tenants apart."""
    gunicorn = serve("tenants.settings", pool_mode="transaction", default_pool_size=1)
    if followed(server_version):
        assert asked(gunicorn) == {"right": WAVE}
    else:
        until("a tenant is shown the other one's orders", lambda: asked(gunicorn)["mixed"] > 0)
        until("a tenant gets an error", lambda: asked(gunicorn)["error"] > 0)
        assert 'relation "orders_order" does not exist' in gunicorn.process.said()


@control(here('f"{tenant}.example"', '"acme.example"', of="tests.proofs.how_to.test_tenants:ask"))
def test_in_session_mode_each_tenant_reads_its_own(serve) -> None:
    """This is unmodified django-tenants, with as many server connections as there are threads."""
    gunicorn = serve("tenants.settings", pool_mode="session", default_pool_size=THREADS)
    assert asked(gunicorn) == {"right": WAVE}


@control(edit("tenants/local/base.py", "self._get_cursor_search_paths()", '["acme"]'))
@control(edit("tenants/transactions.py", '["ATOMIC_REQUESTS"] = True', '["ATOMIC_REQUESTS"] = False'))
def test_a_path_of_the_transaction_keeps_tenants_apart(serve) -> None:
    """With this backend and ATOMIC_REQUESTS, no request over the one server connection gets another tenant's orders."""
    gunicorn = serve("tenants.transactions", pool_mode="transaction", default_pool_size=1)
    assert asked(gunicorn) == {"right": WAVE}
    evidence.ran(evidence.load("tenants/local/base.py"))


WITHIN = """
import django
django.setup()
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django_tenants.utils import schema_context
from orders.models import Order

def customers():
    return [order.customer for order in Order.objects.iterator()]

with schema_context("acme"):
    with transaction.atomic():
        print(*customers())
    try:
        customers()
    except TransactionManagementError as refused:
        print(refused)
    with transaction.atomic():
        print(*customers())
        try:
            with transaction.atomic():
                Order.objects.create(pk=1)
        except IntegrityError:
            print(*customers())
        with schema_context("bolt"):
            print(*customers())
        print(*customers())
cursor = connection.connection.cursor()
cursor.execute("show search_path")
print(*cursor.fetchone())
"""


@control(edit("tenants/local/base.py", "set local", "set"))
@control(edit("tenants/local/base.py", "def pg_version", "def pg_version_of_nobody"))
@control(edit("tenants/local/base.py", "elif self.schema_name != get_public_schema_name():", "elif False:"))
def test_outside_of_a_transaction_a_tenant_is_refused(made, project, load) -> None:
    """Within one, queries read from the tenant set last, also after an error; the session keeps no search_path.

    That holds from a process's first transaction on.
    """
    written(project)
    settings = {"DJANGO_SETTINGS_MODULE": "tenants.transactions", "packages": ("tenants",)}
    status, said = project.run("-c", WITHIN, database_url=made.url, **settings)
    assert status == 0, said
    asks = "acme: query this tenant in transaction.atomic()"
    assert said.splitlines() == ["acme", asks, "acme", "acme", "bolt", "acme", '"$user", public']
    evidence.ran(load("tenants/local/base.py"))


LATE = """
import logging
logging.disable()
from django.conf import settings
settings.TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sessions"]
sessions = "django.contrib.sessions.middleware.SessionMiddleware"
settings.MIDDLEWARE = [*settings.MIDDLEWARE, sessions, "late.middleware"]
settings.ROOT_URLCONF = "late"
import django
django.setup()
from django.db import transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client
from django.urls import path
from orders.models import Order

ORDERS = engines["django"].from_string("{% for order in orders %}{{ order.customer }}{% endfor %}")

def names():
    yield from (order.customer for order in Order.objects.all())

def middleware(get_response):
    def ask(request):
        if "middleware" in request.GET:
            list(names())
        return get_response(request)
    return ask

def ask(request):
    return HttpResponse(names())

def on_commit(request):
    transaction.on_commit(lambda: list(names()))
    return HttpResponse()

def stream(request):
    return StreamingHttpResponse(names())

def template(request):
    return TemplateResponse(request, ORDERS, {"orders": Order.objects.all()})

def rendered(request):
    return template(request).render()

def begins(request):
    request.session["name"] = "new"
    return HttpResponse()

def saves(request):
    begins(request)
    request.session.save()
    return HttpResponse(request.session["name"])

urlpatterns = [path(f"{view.__name__}/", view) for view in (ask, on_commit, stream, template, rendered, begins, saves)]
for place in ("ask/", "rendered/", "saves/", "ask/?middleware", "on_commit/", "stream/", "template/", "begins/"):
    try:
        response = Client(headers={"host": "acme.example"}).get(f"/{place}")
        print(place, b"".join(response).decode())
    except transaction.TransactionManagementError as refused:
        print(place, refused)
"""


@control(edit("tenants/local/base.py", "elif self.schema_name != get_public_schema_name():", "elif False:"))
@control(here("(LATE", '(LATE.replace("template(request).render()", "template(request)")'))
@control(here("(LATE", '(LATE.replace("request.session.save()", "pass")'))
def test_what_asks_before_or_after_its_view_is_refused(made, project, tmp_path) -> None:
    """Middleware, on_commit, a stream, a TemplateResponse's template and a session that begins are.

    A template that the view renders and a session that it saves are not.
    """
    written(project)
    with made.connect() as owner:
        owner.execute("create table acme.django_session (session_key text, session_data text, expire_date timestamptz)")
    settings = {"DJANGO_SETTINGS_MODULE": "tenants.transactions", "packages": ("tenants",)}
    allowed = {"DJANGO_ALLOWED_HOSTS": ".example"}
    (tmp_path / "late.py").write_text(LATE)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import late"
    status, said = project.run("-c", code, database_url=made.url, **settings, **allowed)
    assert status == 0, said
    asks = "acme: query this tenant in transaction.atomic()"
    late = [f"{place} {asks}" for place in ("ask/?middleware", "on_commit/", "stream/", "template/", "begins/")]
    assert said.splitlines() == ["ask/ acme", "rendered/ acme", "saves/ new", *late]


WHOSE = "select customer from orders"


@control(
    here("user=role.name, password=role.password", "user=roles[0].name, password=roles[0].password"),
    fails_with="already exists",
)
def test_a_role_for_each_tenant_reads_its_own_schema(server, server_version, pooler, load) -> None:
    """Four clients share one connection per role: each reads its schema without setting a path, and not the other's."""
    note_postgres(server_version)
    roles = [Role(server), Role(server)]
    with fresh(server) as database:
        users = {role.name: role.password for role in roles}
        bouncer = pooler(database, pool_mode="transaction", default_pool_size=1, users=users)

        def connect(role: Role) -> psycopg.Connection[tuple]:
            # PgBouncer 1.18 does not track prepared statements; Django prepares none.
            return bouncer.connect(database, user=role.name, password=role.password, prepare_threshold=None)

        def reads_its_own(role: Role) -> bool:
            with connect(role) as client:
                return all(client.execute(WHOSE).fetchall() == [(role.name,)] for _ in range(20))

        for role in roles:
            database.psql(load("tenants/role.sql"), role=role.name)
            with connect(role) as client:
                client.execute("create table orders as select current_user::text as customer")
        with ThreadPoolExecutor(4) as clients:
            assert all(clients.map(reads_its_own, roles * 2))
        with connect(roles[0]) as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute(f'select from "{roles[1].name}".orders')
    with server.connect() as superuser:
        for role in roles:
            role.drop(superuser)


POLICY = "create policy of_the_tenant on invoice using (tenant = TENANT::TYPE)"
SETTING = "current_setting('app.tenant', true)"


@control(
    here("nullif({SETTING}, '')", "nullif({SETTING}, '0')"), fails_with='invalid input syntax for type integer: ""'
)
@control(here("'1', true)", "'1', false)"))
@control(here('POLICY.replace("TYPE", kind)', 'POLICY.replace("TYPE", "integer")'))
@pytest.mark.parametrize("kind", ["integer", "bigint"])
def test_a_tenant_of_the_transaction_leaves_an_empty_text(database, server_version, kind) -> None:
    """Before it the setting is null and no row is read; after it a policy that casts fails, and not with nullif.

    A transaction that names a tenant again reads its rows. The error names the type of the cast.
    """
    note_postgres(server_version)
    policy = POLICY.replace("TYPE", kind)
    with database.connect() as session:
        session.execute("create table invoice (tenant bigint); insert into invoice values (1), (2)")
        session.execute("alter table invoice enable row level security; alter table invoice force row level security")
        session.execute(policy.replace("TENANT", SETTING))
        assert session.execute("select tenant from invoice").fetchall() == []
        for _ in range(2):
            with session.transaction():
                session.execute("select set_config('app.tenant', '1', true)")
                assert session.execute("select tenant from invoice").fetchall() == [(1,)]
        assert session.execute(f"select {SETTING}").fetchone() == ("",)
        with pytest.raises(psycopg.errors.InvalidTextRepresentation) as refused:
            session.execute("select tenant from invoice")
        assert refused.value.diag.message_primary == f'invalid input syntax for type {kind}: ""'
        session.execute("drop policy of_the_tenant on invoice")
        session.execute(policy.replace("TENANT", f"nullif({SETTING}, '')"))
        assert session.execute("select tenant from invoice").fetchall() == []


# ---- a database for each tenant --------------------------------------------------------------------------------

# Three aliases that are added while the process runs, as for tenants that have a database each.
ALIASES = """
import os, time
from django.conf import settings
settings.DATABASES["default"]["ATOMIC_REQUESTS"] = IS_ATOMIC
import django; django.setup()
from django.db import close_old_connections, connections
from django.test import Client
import psycopg2 as driver

def count():
    with other.cursor() as cursor:
        cursor.execute("select count(*) from pg_stat_activity where usename = current_user and pid <> pg_backend_pid()")
        return cursor.fetchone()[0]

other = driver.connect(os.environ["DATABASE_URL"])
other.autocommit = True
for tenant in ("acme", "bolt", "corp"):
    connections.databases[tenant] = {**connections.databases["default"], **MORE}
"""
VISITS = """
for tenant in ("acme", "bolt", "corp"):
    with connections[tenant].cursor() as cursor:
        cursor.execute("select 1")
close_old_connections()
gives_up = time.monotonic() + 60
while count() > EXPECTED and time.monotonic() < gives_up:
    pass
print(count())
"""
REQUEST = """
print(Client(SERVER_NAME="127.0.0.1").get("/orders/").status_code, count())
"""


def said_of_aliases(project, database, code: str, atomic: bool = False, more: str = "{}", age: str = "60") -> str:
    """Run this with the three aliases, and return what it printed."""
    code = ALIASES.replace("IS_ATOMIC", str(atomic)) + code
    settings = {"DJANGO_SETTINGS_MODULE": "settings.prod", "DB_CONN_MAX_AGE": age}
    status, said = project.run("-c", code.replace("MORE", more), database_url=database.url, **settings)
    assert status == 0, said
    return said


@control(here('kept = "60"', 'kept = "0"'))
@control(here('closed = "0"', 'closed = "60"'), fails_with="ends: not within")
def test_a_thread_keeps_a_connection_for_each_tenants_database(project, server, server_version, migrated) -> None:
    """With CONN_MAX_AGE a thread that has served three has three, after what ends a request; with an age of 0 none."""
    evidence.on(PostgreSQL=server_version)
    kept = "60"
    closed = "0"
    said = []
    for age, expected in ((kept, "3"), (closed, "0")):
        with fresh(server, template=migrated) as database:
            said.append(said_of_aliases(project, database, VISITS.replace("EXPECTED", expected), age=age))
    project.note()
    assert said == ["3\n", "0\n"]


@control(here('copied = "{}"', "copied = \"{'ATOMIC_REQUESTS': False}\""))
@control(here("exempt = \"{'ATOMIC_REQUESTS': False}\"", 'exempt = "{}"'))
def test_atomic_requests_opens_every_aliass_connection(project, server, server_version, migrated) -> None:
    """A request that queries one alias has four connections where all four have ATOMIC_REQUESTS, and otherwise one."""
    evidence.on(PostgreSQL=server_version)
    copied = "{}"
    exempt = "{'ATOMIC_REQUESTS': False}"
    said = []
    for more in (copied, exempt):
        with fresh(server, template=migrated) as database:
            said.append(said_of_aliases(project, database, REQUEST, atomic=True, more=more))
    project.note()
    assert said == ["200 4\n", "200 1\n"]
