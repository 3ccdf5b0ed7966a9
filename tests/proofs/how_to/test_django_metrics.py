"""Proves docs/how-to/django-metrics.md: the example project under Gunicorn with two workers, scraped over HTTP."""

import http.client
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from io import FileIO
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest
from prometheus_client import mmap_dict

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs import deployed
from tests.stack.database import fresh
from tests.stack.upstream import Gunicorn, needs_a_pool, serving
from tests.stack.wait import DEADLINE, until

SAMPLE = re.compile(r'^(\w+)\{alias="default"\} (\S+)$', re.MULTILINE)
NAMED = re.compile(r"^    (django_\w+)  ", re.MULTILINE)
TYPED = re.compile(r"^# TYPE (\w+) ", re.MULTILINE)
MADE = re.compile(r'\b(counter|gauge)\(\s*"(\w+)"')
# One process with Django's own pool of two: two threads hold both, a third is refused, and then one connection is lost.
POOLED = """
import threading
from django.conf import settings

default = settings.DATABASES["default"]
default["CONN_MAX_AGE"] = 0
default["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2}

import django
from django.db import OperationalError, close_old_connections, connection

django.setup()
from metered.base import WAITERS

waiters, seen = WAITERS.labels("default"), set()
taken, back = threading.Event(), threading.Event()
pids = []

def holder():
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        pids.extend(cursor.fetchone())
    taken.set()
    back.wait()
    connection.close()

def refused():
    usual, connection.pool.timeout = connection.pool.timeout, 0.3  # whoever gets one may wait for it
    try:
        connection.ensure_connection()
    except OperationalError as error:
        print(error)
    connection.pool.timeout = usual

connection.ensure_connection()
first, second = threading.Thread(target=holder), threading.Thread(target=refused)
first.start()
taken.wait()
second.start()
while second.is_alive():
    seen.add(waiters._value.get())
back.set()
first.join()
with connection.cursor() as cursor:
    cursor.execute("select pg_terminate_backend(%s, 5000)", pids)
close_old_connections()
connection.ensure_connection()
close_old_connections()

from django.test import RequestFactory
from metered.urls import metrics
from orders.health import reachable

probe = reachable(RequestFactory().get("/health/reachable/"))
assert probe.status_code == 200

print("waiters", max(seen))
print(metrics(RequestFactory().get("/metrics")).content.decode())
"""
# A process that finds no server.
UNREACHABLE = """
import django
from django.db import OperationalError, connection

django.setup()
from metered.base import ERRORS, OPENED

try:
    connection.ensure_connection()
except OperationalError:
    print(*(counter.labels("default")._value.get() for counter in (ERRORS, OPENED)))
"""
# A process whose server refuses it from the second query on.
BEHIND = """
import sys
import django
django.setup()
from django.db import OperationalError, connection
from metered.base import ERRORS, OPENED

def ask():
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
        print("answered", flush=True)
    except OperationalError as error:
        print(error, flush=True)
    connection.close()

ask()
if pool := getattr(connection, "pool", None):
    pool.timeout = 0.3  # from now on: whoever gets one may wait for it
open(sys.argv[1]).read()
ask()
print(*(int(counter.labels("default")._value.get()) for counter in (ERRORS, OPENED)))
"""
# What comes before that for a pool.
WITH_A_POOL = """
from django.conf import settings

default = settings.DATABASES["default"]
default["CONN_MAX_AGE"], default["CONN_HEALTH_CHECKS"] = 0, True
default["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1}
"""
# Reads the counts of a process that finds no server, where each view is a transaction.
ATOMIC = """
from django.conf import settings

settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True

import django
from django.test import Client

django.setup()
client = Client(raise_request_exception=False, SERVER_NAME="127.0.0.1")
print(*(client.get(path).status_code for path in ("/health/live/", "/metrics")))
"""
# The same for another alias than default, at first with the view as it is.
ANOTHER = (
    ATOMIC.replace(
        '["default"]["ATOMIC_REQUESTS"] = True', '["other"] = settings.DATABASES["default"] | {"ATOMIC_REQUESTS": True}'
    )
    + """
from django.db import transaction
from metered.views import metrics

transaction.non_atomic_requests(using="other")(metrics)
print(client.get("/metrics").status_code)
"""
)
# Two requests that query nothing, where each view is a transaction.
SILENT = """
from django.conf import settings

settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True

import django
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory

django.setup()
from metered.base import OPENED, REUSED

application = get_wsgi_application()
for _ in range(2):
    environ = RequestFactory()._base_environ(PATH_INFO="/health/live/", SERVER_NAME="127.0.0.1")
    application(environ, lambda *_: None).close()
print(*(int(counter.labels("default")._value.get()) for counter in (OPENED, REUSED)))
"""
# A pool of one under the backend that comes with django-prometheus.
PACKAGED = """
from django.conf import settings

default = settings.DATABASES["default"]
default["ENGINE"] = "django_prometheus.db.backends.postgresql"
default["CONN_MAX_AGE"] = 0
default["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1}

import django
from django.db import connection
from prometheus_client import REGISTRY

django.setup()
backends = set()
for _ in range(3):
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        backends.update(cursor.fetchone())
    connection.close()
labels = {"alias": "default", "vendor": "postgresql"}
print(REGISTRY.get_sample_value("django_db_new_connections_total", labels), len(backends))
print(*(metric.name for metric in REGISTRY.collect() if metric.name.startswith("django_")))
"""


def samples(text: str) -> dict[str, float]:
    """Return the samples of the default alias."""
    return {name: float(value) for name, value in SAMPLE.findall(text)}


def scrape(gunicorn: Gunicorn) -> dict[str, float]:
    """Return the samples of the default alias in /metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", gunicorn.port, timeout=DEADLINE)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    assert response.status == 200, gunicorn.said()
    return samples(text)


def since(before: dict[str, float], now: dict[str, float]) -> dict[str, int]:
    """Return each increase, by the name without its prefix and suffix."""
    return {
        name.removeprefix("django_").removesuffix("_total"): int(now[name] - before[name])
        for name in now
        if now[name] != before[name]
    }


@pytest.fixture(scope="module")
def counting(tmp_path_factory) -> dict[str, str]:
    """The environment in which the project counts, in a folder for all proofs of this module."""
    return counting_in(tmp_path_factory.mktemp("counts"))


@pytest.fixture(scope="module")
def metered(project, server, migrated, counting) -> Iterator[Gunicorn]:
    """Two workers with four threads each, which count. No connection reaches its maximum age within a proof."""
    kept = {"DB_CONN_MAX_AGE": "none"}
    with fresh(server, template=migrated) as database, serving(project, database, **counting, **kept) as gunicorn:
        yield gunicorn


def counting_in(folder: Path) -> dict[str, str]:
    """Return the environment in which the project counts, in a folder that it creates itself."""
    return {"DJANGO_SETTINGS_MODULE": "settings.metered", "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}


@pytest.fixture(autouse=True)
def noted(request, server_version) -> None:
    """Tell the ledger what the proof ran on."""
    evidence.on(PostgreSQL=server_version, **{"prometheus-client": version("prometheus-client")})
    if "metered" in request.fixturenames:
        request.getfixturevalue("metered").note()


def busy(gunicorn: Gunicorn) -> None:
    """Keep every thread busy until each has a connection."""
    done = Event()

    def visit() -> None:
        while not done.is_set():
            gunicorn.request("/orders/report/?seconds=0.05")

    with ThreadPoolExecutor(max_workers=16) as clients:
        for _ in range(16 if len(gunicorn.database.backends()) < 2 * 4 else 0):
            clients.submit(visit)
        try:
            until("every thread has a connection", lambda: len(gunicorn.database.backends()) == 2 * 4)
        finally:
            done.set()


@control(edit("upstream/metered/views.py", "generate_latest(registry)", "generate_latest()"))
def test_any_worker_answers_for_all(metered) -> None:
    """Each of two workers by itself answers with the sum of both, which is PostgreSQL's count of sessions."""
    busy(metered)
    answers = []
    for worker in workers(metered):
        os.kill(worker, signal.SIGSTOP)  # so that the other answers
        try:
            answers.append(scrape(metered))
        finally:
            os.kill(worker, signal.SIGCONT)
    assert len(answers) == 2
    assert len({frozenset(answer.items()) for answer in answers}) == 1
    opened = answers[0]["django_connections_opened_total"]
    assert opened >= 2 * 4
    # A session that has only just begun may not be in the statistics yet: a later request reports it.
    until("each is counted", lambda: metered.backend() and metered.database.sessions() >= opened)
    assert metered.database.sessions() == opened


@control(
    edit("upstream/settings/base.py", '    "django.middleware.common.CommonMiddleware",\n', ""),
    edit("upstream/settings/base.py", '    "orders.origins.RefuseOtherOrigins",\n', ""),
)
def test_the_view_answers_under_an_allowed_name_alone(metered) -> None:
    """ALLOWED_HOSTS applies to /metrics as well, and nothing else is required of a client that reads it."""
    busy(metered)
    assert deployed.status(metered.port, "/metrics", "127.0.0.1") == 200
    assert deployed.status(metered.port, "/metrics", "prometheus.internal") == 400


@control(here('"counter_0.db"', '"counter_0"'))
def test_a_scrape_may_fail_while_a_worker_starts(metered, counting, monkeypatch) -> None:
    """As prometheus_client begins a file, it is empty for a moment: meanwhile the answer is 500, then it is complete.

    It is complete while the file has its full size but no count yet, too.
    """
    busy(metered)
    before = scrape(metered)
    begun = Path(counting["PROMETHEUS_MULTIPROC_DIR"]) / "counter_0.db"
    empty, full = [], []
    sets_size = mmap_dict._pack_integer

    def opened(name: str, mode: str) -> FileIO:
        file = FileIO(name, mode)
        empty.append(deployed.status(metered.port, "/metrics", "127.0.0.1"))
        return file

    def packed(*arguments: Any) -> None:
        full.append(scrape(metered))
        sets_size(*arguments)

    monkeypatch.setattr(mmap_dict, "open", opened, raising=False)
    monkeypatch.setattr(mmap_dict, "_pack_integer", packed)
    try:
        mmap_dict.MmapedDict(str(begun)).close()
        assert (empty, full) == ([500], [before])
        assert scrape(metered) == before
    finally:
        begun.unlink()


@control(edit("upstream/metered/base.py", "REUSED.labels(self.alias).inc()", "OPENED.labels(self.alias).inc()"))
@control(edit("upstream/metered/base.py", "            self.used = True\n            REUSED", "            REUSED"))
@control(edit("upstream/metered/base.py", "        self.used = True\n        try:", "        try:"))
def test_requests_that_find_their_connection_open_are_counted(metered) -> None:
    """Ten more requests of three queries each count as ten reuses and no opening; a scrape counts as neither.

    Nor does a request count whose first query opens the connection, however many follow.
    """
    busy(metered)

    def counted(requests: int) -> dict[str, int]:
        before = scrape(metered)
        for _ in range(requests):
            assert metered.request("/orders/report/?seconds=0")[0] == 200
        return since(before, scrape(metered))

    assert counted(10) == {"connections_reused": 10}
    for pid in metered.database.backends():
        metered.database.terminate(pid)
    new = counted(12)
    assert new["connections_opened"] >= 1
    assert new["connections_opened"] + new["connections_reused"] == 12


@control(here("SILENT, database_url", 'SILENT.replace("True", "False"), database_url'))
def test_with_atomic_requests_even_a_request_without_a_query_counts_as_a_reuse(project, database, tmp_path) -> None:
    """Its transaction needs the connection: the first of two opens it, and the second finds it open."""
    counting = counting_in(tmp_path)
    Path(counting["PROMETHEUS_MULTIPROC_DIR"]).mkdir()
    said = project.run("-c", SILENT, database_url=database.url, **counting)
    assert said == (0, "1 1\n")


@control(edit("upstream/metered/base.py", "UNHEALTHY.labels(self.alias).inc()", "UNHEALTHY.labels(self.alias).inc(2)"))
def test_health_checks_that_find_a_lost_connection_are_counted(metered) -> None:
    """Each connection that PostgreSQL has terminated counts as one failed check and one opening."""
    busy(metered)
    before = scrape(metered)
    for pid in metered.database.backends():
        metered.database.terminate(pid)
    backends = {metered.backend() for _ in range(12)}
    new = since(before, scrape(metered))
    assert new["health_check_failures"] == new["connections_opened"] == len(backends)
    assert new["connections_reused"] == 12 - len(backends)


@control(edit("upstream/metered/base.py", "ERRORS.labels(self.alias).inc()", "ERRORS.labels(self.alias).inc(2)"))
def test_attempts_that_fail_are_counted(metered, tmp_path) -> None:
    """Where the database allows no connections or no server listens, an attempt is an error and not an opening."""
    busy(metered)
    database = metered.database
    before = scrape(metered)
    database.admin.execute(f'alter database "{database.name}" allow_connections false')
    try:
        for pid in database.backends():
            database.terminate(pid)
        for _ in range(5):
            # Not /orders/: Django 4.2 queries its rows again and again, for a report that it then sends to nobody.
            assert metered.request("/connection/")[0] == 500
    finally:
        database.admin.execute(f'alter database "{database.name}" allow_connections true')
    new = since(before, scrape(metered))
    assert new["connection_errors"] == 5
    assert "connections_opened" not in new
    counting = counting_in(tmp_path)
    Path(counting["PROMETHEUS_MULTIPROC_DIR"]).mkdir()
    nobody = "postgresql://upstream@127.0.0.1:1/upstream"
    status, said = metered.project.run("-c", UNREACHABLE, database_url=nobody, **counting)
    assert (status, said) == (0, "1.0 0.0\n")


@control(here("database_url=bouncer.url(database)", "database_url=database.url"))
@control(here("first + BEHIND", 'first.replace("True", "False") + BEHIND'))
@control(here("database_url=never.url(database)", "database_url=bouncer.url(database)"))
@pytest.mark.parametrize(("first", "counted"), [("", "0 2"), (WITH_A_POOL, "1 0")], ids=["no pool", "Django's pool"])
def test_behind_pgbouncer_a_connection_is_opened_although_postgresql_refuses(
    project, database, pooler, tmp_path, first, counted
) -> None:
    """Once PgBouncer has reached PostgreSQL, it accepts a client, whose query fails: one opening, and no error.

    With Django's pool, which checks a connection before it lends it, nobody gets one: one error. A PgBouncer that has
    never reached PostgreSQL accepts no client: an error, and no opening.
    """
    if first:
        needs_a_pool()
    bouncer = pooler(database, pool_mode="transaction", query_wait_timeout=5)  # 1.18 tells nobody why
    counting, fifo = counting_in(tmp_path), tmp_path / "go"
    Path(counting["PROMETHEUS_MULTIPROC_DIR"]).mkdir()
    os.mkfifo(fifo)
    asks = project.start("-c", first + BEHIND, str(fifo), database_url=bouncer.url(database), **counting)
    until("it is answered", lambda: "answered\n" in asks.said())
    database.admin.execute(f'alter database "{database.name}" allow_connections false')
    for pid in database.backends():
        database.terminate(pid)
    fifo.write_text("")
    until("it has asked again", asks.ended)
    asks.stop()
    project.note()
    assert asks.said().count("answered") == 1, asks.said()
    assert asks.said().splitlines()[-1] == counted, asks.said()
    never = pooler(database, pool_mode="transaction", query_wait_timeout=5)
    status, said = project.run("-c", UNREACHABLE, database_url=never.url(database), **counting)
    assert (status, said) == (0, "1.0 0.0\n")


@control(edit("upstream/metered/views.py", "@transaction.non_atomic_requests\n", ""))
@control(here("ATOMIC, database_url", 'ATOMIC.replace("True", "False"), database_url'))
@control(here("ANOTHER, database_url", """ANOTHER.replace('using="other"', 'using="default"'), database_url"""))
@control(here("ANOTHER, database_url", "ATOMIC, database_url"))
def test_under_atomic_requests_the_counts_need_no_connection(project, tmp_path) -> None:
    """Without a server /metrics is answered, while a view in a transaction gets 500.

    Where another alias than default has ATOMIC_REQUESTS, it is answered only if the view is exempt there as well.
    """
    counting = counting_in(tmp_path)
    Path(counting["PROMETHEUS_MULTIPROC_DIR"]).mkdir()
    nobody = "postgresql://upstream@127.0.0.1:1/upstream"
    status, said = project.run("-c", ATOMIC, database_url=nobody, **counting)
    assert status == 0, said
    assert said.splitlines()[-1] == "500 200"
    status, said = project.run("-c", ANOTHER, database_url=nobody, **counting)
    assert status == 0, said
    assert said.splitlines()[-2:] == ["500 500", "200"]


@control(
    edit(
        "upstream/gunicorn.conf.py",
        "multiprocess.mark_process_dead(worker.pid)",
        'for file in Path(counts).glob(f"*_{worker.pid}.db"): file.unlink()',
    ),
    fails_with="KeyError: 'connections_opened'",
)
@control(edit("upstream/gunicorn.conf.py", "multiprocess.mark_process_dead(worker.pid)", "pass"))
def test_what_a_worker_counted_outlives_it(metered, counting) -> None:
    """A killed worker's counts stay in the sum, its open connections do not, and its successor adds its own."""
    busy(metered)
    before = scrape(metered)
    (killed, *_) = workers(metered)
    open_now = Path(counting["PROMETHEUS_MULTIPROC_DIR"]) / f"gauge_livesum_{killed}.db"
    assert open_now.exists()
    os.kill(killed, signal.SIGKILL)
    until("another has taken its place", lambda: killed not in workers(metered) and len(workers(metered)) == 2)
    until("its connections are gone", lambda: len(metered.database.backends()) == 4)
    assert not open_now.exists()
    busy(metered)
    new = since(before, scrape(metered))
    assert new["connections_opened"] == 4
    assert set(new) == {"connections_opened", "connections_reused"}


def workers(gunicorn: Gunicorn) -> list[int]:
    """Return the pids of the worker processes."""
    return [child.pid for child in psutil.Process(gunicorn.process.pid).children()]


@control(edit("upstream/gunicorn.conf.py", "file.unlink()", "file.exists()"))
@control(
    edit("upstream/gunicorn.conf.py", "if counts:\n    Path(counts).mkdir(parents=True, exist_ok=True)\n", ""),
    edit(
        "upstream/gunicorn.conf.py",
        "        for file in",
        "        Path(counts).mkdir(parents=True, exist_ok=True)\n        for file in",
    ),
    fails_with="FileNotFoundError",
)
@pytest.mark.parametrize("options", ["", "--preload"], ids=["loaded by the workers", "preloaded"])
def test_gunicorn_begins_to_count_at_nothing(project, server, migrated, tmp_path, options) -> None:
    """It creates the folder before it loads the application, and what an earlier run has left there is not added."""
    with fresh(server, template=migrated) as database:
        for _ in range(2):
            with serving(project, database, options, GUNICORN_WORKERS="1", **counting_in(tmp_path)) as gunicorn:
                gunicorn.backend()
                assert scrape(gunicorn)["django_connections_opened_total"] == 1
        gunicorn.note()


@control(here('counting.pop("PROMETHEUS_MULTIPROC_DIR")', 'counting["PROMETHEUS_MULTIPROC_DIR"]'))
def test_a_folder_that_only_env_names_is_not_emptied(project, server, migrated, tmp_path) -> None:
    """The workers read .env, and count there; Gunicorn's own process does not, so an earlier run is added."""
    counting, used = counting_in(tmp_path), project.folder / ".env"
    folder = counting.pop("PROMETHEUS_MULTIPROC_DIR")
    Path(folder).mkdir()
    used.write_text(f"PROMETHEUS_MULTIPROC_DIR={folder}\n")
    try:
        with fresh(server, template=migrated) as database:
            for opened in (1, 2):
                with serving(project, database, GUNICORN_WORKERS="1", **counting) as gunicorn:
                    gunicorn.backend()
                    assert scrape(gunicorn)["django_connections_opened_total"] == opened
            gunicorn.note()
    finally:
        used.unlink()


@pytest.fixture(scope="module")
def pooled(project, server, tmp_path_factory) -> str:
    """What a process with Django's own pool has printed: an error, and its metrics."""
    needs_a_pool()
    counting = counting_in(tmp_path_factory.mktemp("counts"))
    Path(counting["PROMETHEUS_MULTIPROC_DIR"]).mkdir()
    with fresh(server) as database:
        status, output = project.run("-c", POOLED, database_url=database.url, **counting)
    assert status == 0, output
    return output


@control(edit("upstream/metered/base.py", 'unit = 0.001 if name.endswith("_ms") else 1', "unit = 2"))
@control(edit("upstream/metered/base.py", "with WAITERS.labels(self.alias).track_inprogress():", "with lock:"))
@control(edit("upstream/metered/base.py", "if not self.djangos_pool():", "if True:"))
@control(edit("upstream/orders/health.py", '    own.settings_dict["OPTIONS"].pop("pool", None)\n', ""))
def test_the_pool_of_django_is_counted(project, pooled) -> None:
    """/metrics has its size, how many requests it got, queued and refused, and the connections it opened and lost.

    One thread waits while others have both connections, and none afterwards. A probe past the pool opens one.
    """
    project.note()
    assert "couldn't get a connection after 0.30 sec" in pooled
    assert "\nwaiters 1.0\n" in pooled
    found = samples(pooled)
    wanted = {
        "connections_opened_total": 1,
        "connections_reused_total": 0,
        "connection_errors_total": 1,
        "connection_waiters": 0,
        "pool_max_size": 2,
        "pool_size": 2,
        "pool_requests_total": 4,
        "pool_requests_errors_total": 1,
        "pool_lost_total": 1,
    }
    assert {name: found[f"django_{name}"] for name in wanted} == wanted
    assert found["django_pool_wait_seconds_total"] >= 0.3
    assert found["django_pool_requests_queued_total"] >= 1
    assert found["django_pool_opened_total"] >= 2


@control(edit("upstream/metered/base.py", "django_pool_lost_total  ", "django_pools_lost_total "))
@control(edit("upstream/metered/base.py", "OPENED = counter(", 'NEVER = counter("never", "Never.")\nOPENED = counter('))
def test_every_metric_is_in_the_list_and_no_other(load, pooled) -> None:
    """The list at the head of the module names exactly the metrics that it makes, and that /metrics has."""
    listed = load("upstream/metered/base.py")
    made = {f"django_{name}" + "_total" * (kind == "counter") for kind, name in MADE.findall(listed.text)}
    assert set(NAMED.findall(listed.text)) == made
    assert set(NAMED.findall(listed.text)) == set(samples(pooled)) == set(TYPED.findall(pooled))
    evidence.ran(listed)


@control(here('"settings.metered"', '"settings.metered", "PROMETHEUS_MULTIPROC_DIR": "."'))
def test_without_a_folder_the_view_says_so(project, database) -> None:
    """Where PROMETHEUS_MULTIPROC_DIR is not set, a ValueError names it."""
    ask = "import django; django.setup(); from metered.urls import metrics; metrics(None)"
    counting = {"DJANGO_SETTINGS_MODULE": "settings.metered"}
    status, output = project.run("-c", ask, database_url=database.url, **counting)
    assert status == 1
    assert output.splitlines()[-1] == "ValueError: env PROMETHEUS_MULTIPROC_DIR is not set or not a directory"


# ---- what a package gives ------------------------------------------------------------------------------------


@control(here("PACKAGED,", 'PACKAGED.replace("    connection.close()", ""),'))
def test_django_prometheus_counts_what_a_pool_lends_as_new(project, database) -> None:
    """A connection that Django's pool lends three times counts as three new ones; no metric shows reuse or checks."""
    needs_a_pool()
    production = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
    status, output = project.run("-c", PACKAGED, database_url=database.url, **production)
    assert status == 0, output
    evidence.on(**{"django-prometheus": version("django-prometheus")})
    lent, backends, *names = output.split()
    assert (float(lent), backends) == (3, "1")
    assert {"django_db_new_connections", "django_db_new_connection_errors"} <= {*names}
    assert not [name for name in names if re.search("reuse|health|pool|wait", name)]
