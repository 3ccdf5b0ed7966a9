"""Proves docs/how-to/check-your-project.md: each rule on a project that breaks it, and on a near miss."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from itertools import product
from pathlib import Path
from typing import Any

import django
import psycopg
import pytest

from proven import ROOT, evidence
from proven.sources import snippets
from proven.sources.controls import control, edit, here, replace
from setup import others
from tests.proofs.planted import planted
from tests.stack.console import at_least
from tests.stack.database import Database, Role, fresh
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.pgbouncer import PgBouncer
from tests.stack.scripts import execute
from tests.stack.upstream import driver, needs_a_pool
from tests.stack.wait import until

APP = "upstream/pooling_checks"
RULES = f"{APP}/rules.py"
PAGE = "docs/how-to/check-your-project.md"
PATIENCE = 120  # seconds for a new Python or three, on a busy machine too
CHECKED = {"DJANGO_SETTINGS_MODULE": "settings.checked"}

# Runs `manage.py check` in one process for many settings, and prints which rules found something.
BATCH = r"""
import copy, importlib, io, json, os, re, sys
sys.argv = ["manage.py", "check"]
sys.path.insert(0, {folder!r})
import django; django.setup()
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.utils import load_backend
from django.test.utils import override_settings
from pooling_checks import loaded

def checked(settings=(), options=(), project=(), env=(), engine="", asks="", sql=(), argv="check", server=False):
    before = connections["default"].settings_dict
    now = copy.deepcopy(before) | dict(settings)
    now["OPTIONS"] |= dict(options)
    backend = load_backend(engine or before["ENGINE"])
    connections["default"] = backend.DatabaseWrapper(now, "default")
    sys.argv[1] = argv
    os.environ |= dict(env)
    said = io.StringIO()
    try:
        for statement in sql:
            with connections["default"].temporary_connection() as cursor:
                cursor.execute(statement)
        if asks:
            importlib.import_module(asks)
        with override_settings(**({{"POOLING_CHECKS": {{}}}} | dict(project))):
            call_command("check", deploy=True, databases=["default"] if server else None, stdout=said, stderr=said)
    except CommandError as error:
        said.write(str(error))
    finally:
        if connections["default"].connection is not None:
            connections["default"].close()
        pools = getattr(backend.DatabaseWrapper, "_connection_pools", {{}})  # from Django 5.1 on
        while pools:
            pools.popitem()[1].close()
        loaded.asked.clear()
        for name in dict(env):
            del os.environ[name]
        connections["default"] = load_backend(before["ENGINE"]).DatabaseWrapper(before, "default")
    return re.findall(r"\((pooling\.\w+)\)", said.getvalue())

print(json.dumps({{name: checked(**case) for name, case in json.loads(os.environ["CASES"]).items()}}))
"""
ASKS = "from django.db import connection\nconnection.ensure_connection()\n"
# The modules that cases name, and their source.
MODULES = {
    "asks.py": ASKS,
    "asks_a_pool.py": ASKS,
    "asks_and_closes.py": f"{ASKS}connection.close()\n",
    "asks_and_closes_a_pool.py": f"{ASKS}connection.close()\nconnection.close_pool()\n",
    "rotating/__init__.py": "",
    "rotating/base.py": """
from django.db.backends.postgresql import base
class DatabaseWrapper(base.DatabaseWrapper):
    asked = 0
    def get_connection_params(self):
        type(self).asked += 1
        return super().get_connection_params() | {"application_name": f"asked {self.asked}"}
""",
}

POOL: dict[str, Any] = {"settings": {"CONN_MAX_AGE": 0}, "options": {"pool": {"min_size": 4}}}
ASGI = {"project": {"ASGI_APPLICATION": "asgi.application"}}
POOLER = {"PORT": "6432", "DISABLE_SERVER_SIDE_CURSORS": True}
LIMIT = {"options": {"options": "-c statement_timeout=5s"}}
SCHEMA = {"options": {"options": "-c search_path=tenant"}}
ATOMIC = {"settings": {"CONN_MAX_AGE": 0, "ATOMIC_REQUESTS": True}}
UNTRIED = {"settings": {"CONN_HEALTH_CHECKS": False, "CONN_MAX_AGE": 0}}
SECOND = {"settings": {"HOST": "127.0.0.1,db.example.com"}}
FAR = {"HOST": "db.example.com"}
SAFE = {"connect_timeout": 5, "tcp_user_timeout": 5000, "sslmode": "verify-full"}


def told(**names: object) -> dict[str, Any]:
    """Return a case with these values in POOLING_CHECKS."""
    return {"project": {"POOLING_CHECKS": names}}


def far(*without: str, **options: object) -> dict[str, Any]:
    """Return a case with a remote host, less some of the safe options."""
    return {"settings": FAR, "options": {name: SAFE[name] for name in SAFE if name not in without} | options}


Cases = dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]
# For each rule: settings that break it, each with the nearest settings that do not.
SETTINGS: Cases = {
    "W001": [
        (told(TRANSACTON_MODE=[]), told(TRANSACTION_MODE=[])),
        (told(THREADS="4"), told(THREADS=4)),
        (told(THREADS=-1), told(THREADS=0)),
        (told(TRANSACTION_MODE="default"), told(TRANSACTION_MODE=None)),
        (told(GUIDE=5), told(GUIDE="https://guide.example")),
        ({"project": {"POOLING_CHECKS": []}}, told()),
    ],
    "W002": [(ASGI, ASGI | {"settings": {"CONN_MAX_AGE": 0}}), (ASGI, ASGI | POOL)],
    "W003": [({"argv": "runserver"}, {"argv": "runserver", "settings": {"CONN_MAX_AGE": 0}})],
    "E004": [(POOL | {"settings": {"CONN_MAX_AGE": 60}}, POOL)],
    "W005": [(POOL | {"engine": "rotating"}, POOL | {"engine": "metered"})],
    "W006": [({"asks": "asks"}, {"asks": "asks_and_closes"})],
    "W007": [(POOL | {"asks": "asks_a_pool"}, POOL | {"asks": "asks_and_closes_a_pool"})],
    "E008": [({"settings": {"CONN_MAX_AGE": "60"}}, {"settings": {"CONN_MAX_AGE": None}})],
    "W009": [
        ({"project": {"CONN_MAX_AGE": 600}}, {"project": {"CONN_MAX_AGE": 60}}),
        ({"project": {"CONN_HEALTH_CHECKS": False}}, {"project": {"CONN_HEALTH_CHECKS": True}}),
    ],
    "W010": [
        ({"settings": {"PORT": 6432}}, {"settings": {"PORT": 6432, "DISABLE_SERVER_SIDE_CURSORS": True}}),
        ({"settings": {"PORT": 6432}}, {"settings": {"PORT": 6432}} | told(TRANSACTION_MODE=[])),
        (told(TRANSACTION_MODE=["default"]), told(TRANSACTION_MODE=["direct"])),
    ],
    "W011": [({"settings": POOLER, "options": {"assume_role": "a"}}, {"options": {"assume_role": "a"}})],
    "W012": [({"settings": POOLER} | LIMIT, LIMIT)],
    "W013": [({"settings": POOLER} | SCHEMA, SCHEMA)],
    "W020": [
        ({"settings": {"CONN_HEALTH_CHECKS": False}}, {"settings": {"CONN_HEALTH_CHECKS": False, "CONN_MAX_AGE": 0}}),
        (POOL | UNTRIED, POOL),
        (POOL | UNTRIED, UNTRIED | {"options": {"pool": {"check": "its own"}}}),
    ],
    "W021": [
        (far("connect_timeout"), far()),
        (far("connect_timeout"), far("connect_timeout") | {"env": {"PGCONNECT_TIMEOUT": "5"}}),
    ],
    "W022": [
        (far("tcp_user_timeout"), far()),
        (far("tcp_user_timeout"), {"settings": {"HOST": "127.0.0.1"}}),
        (far("tcp_user_timeout") | SECOND, {"settings": {"HOST": "127.0.0.1,localhost"}}),
    ],
    "W023": [
        (far("sslmode"), far("sslmode", sslrootcert="system")),
        (far("sslmode"), far("sslmode", channel_binding="require")),
        (far(sslmode="prefer"), far(sslmode="verify-ca")),
        (far(sslmode="require"), far(sslmode="require", sslrootcert="ca.crt")),
        (far("sslmode") | {"env": {"PGSSLMODE": "require"}}, far("sslmode") | {"env": {"PGSSLMODE": "verify-full"}}),
        (far(sslmode="require"), {"settings": {"HOST": "/run/postgresql"}, "options": {"sslmode": "require"}}),
    ],
    "W024": [
        (POOL | ATOMIC, POOL),
        (POOL | ATOMIC, ATOMIC),
        (POOL | ATOMIC | told(THREADS=5), POOL | ATOMIC | told(THREADS=4)),
    ],
}
# Two rules find something; one of them is silenced.
SILENCED = {
    "argv": "runserver",
    "settings": {"CONN_HEALTH_CHECKS": False},
    "project": {"SILENCED_SYSTEM_CHECKS": ["pooling.W003"]},
}


def flat(cases: Cases) -> dict[str, dict[str, Any]]:
    """Return each case by a name: "W002 0 breaks", "W002 0 nearest"."""
    return {
        f"{rule} {number} {kind}": case
        for rule, pairs in cases.items()
        for number, pair in enumerate(pairs)
        for kind, case in zip(("breaks", "nearest"), pair, strict=True)
    }


def check(project, database: Database, cases: dict[str, dict[str, Any]], folder: Path) -> dict[str, list[str]]:
    """Run the checks of each case in one process, and return the rules that found something."""
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    settings = {**CHECKED, "CASES": json.dumps(cases), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    status, said = project.run("-c", BATCH.format(folder=str(folder)), database_url=database.url, **settings)
    assert status == 0, said
    return json.loads(said.splitlines()[-1])


def settings() -> Cases:
    """Return the cases that can be tried here: W007 needs Django's own pool."""
    return {rule: pairs for rule, pairs in SETTINGS.items() if has_a_pool() or rule != "W007"}


def has_a_pool() -> bool:
    """Return whether Django has a pool of its own here."""
    return django.VERSION >= (5, 1) and "psycopg" in driver()


@pytest.fixture(scope="module")
def by_settings(project, server, tmp_path_factory) -> Iterator[dict[str, list[str]]]:
    """What was found in each case of SETTINGS."""
    with fresh(server) as database:
        cases = {**flat(settings()), "silenced": SILENCED}
        yield check(project, database, cases, tmp_path_factory.mktemp("settings"))


def expected(cases: Cases) -> dict[str, list[str]]:
    """Return what is to be found: that rule alone in each case that breaks it, and nothing in the nearest."""
    return {name: [f"pooling.{name.split()[0]}"] if name.endswith("breaks") else [] for name in flat(cases)}


# ---- what the settings say -------------------------------------------------------------------------------------


@control(edit("upstream/pooling_checks/told.py", "right = value is None or isinstance", "right = isinstance"))
@control(
    edit("upstream/pooling_checks/told.py", '"" if number or value is DEFAULTS[name] else "a number, 0 or more"', '""')
)
@control(
    edit(
        "upstream/pooling_checks/told.py",
        "if name not in DEFAULTS:\n        return f\"a dictionary with names from this list: {', '.join(DEFAULTS)}\"",
        'if name not in DEFAULTS:\n        return ""',
    )
)
@control(edit("upstream/pooling_checks/keeping.py", 'getattr(project, "ASGI_APPLICATION", None)', "None"))
@control(edit("upstream/pooling_checks/keeping.py", '["runserver"]', '["check"]'))
@control(edit("upstream/pooling_checks/keeping.py", "if keeps(settings) and pool is not None", "if pool is not None"))
@control(edit("upstream/pooling_checks/keeping.py", "own is not Data", "own is Data"))
@control(edit("upstream/pooling_checks/aliases.py", "age is not None and not", "not"))
@control(edit("upstream/pooling_checks/keeping.py", "value not in given", "value in given"))
@control(edit("upstream/pooling_checks/keeping.py", '("CONN_MAX_AGE", "CONN_HEALTH_CHECKS")', '("CONN_MAX_AGE",)'))
@control(edit("upstream/pooling_checks/loaded.py", "elif connection.connection is not None", "elif connection"))
@control(edit("upstream/pooling_checks/loaded.py", "if not pool.closed", "if pool"))
@control(edit("upstream/pooling_checks/transaction_mode.py", '"6432"', '"6433"'))
@control(edit("upstream/pooling_checks/transaction_mode.py", "return name in behind", "return bool(behind)"))
@control(edit("upstream/pooling_checks/transaction_mode.py", 'if options.get("assume_role")', 'if options.get("role")'))
@control(edit("upstream/pooling_checks/transaction_mode.py", 'if names != {"search_path"}', "if names"))
@control(edit("upstream/pooling_checks/transaction_mode.py", 'if "search_path" in names', "if names"))
@control(edit("upstream/pooling_checks/production.py", "if kept and not tries", "if not tries"))
@control(edit("upstream/pooling_checks/aliases.py", "or bool(own)", ""))
@control(edit("upstream/pooling_checks/aliases.py", "not all(here", "not any(here"))
@control(edit("upstream/pooling_checks/production.py", '"PGCONNECT_TIMEOUT"', '"PGTIMEOUT"'))
@control(
    edit(
        "upstream/pooling_checks/production.py",
        'if not given(settings, "tcp_user_timeout")',
        'if given(settings, "tcp_user_timeout")',
    )
)
@control(edit("upstream/pooling_checks/aliases.py", '"127."', '"128."'))
@control(
    edit(
        "upstream/pooling_checks/production.py",
        '("verify-ca", "verify-full")',
        '("prefer", "verify-ca", "verify-full")',
    )
)
@control(edit("upstream/pooling_checks/production.py", 'mode == "require" and authority', 'mode == "require"'))
@control(edit("upstream/pooling_checks/production.py", 'authority == "system"', 'authority == "ca.crt"'))
@control(
    edit("upstream/pooling_checks/production.py", '"PGCHANNELBINDING") == "require"', '"PGCHANNELBINDING") == "allow"')
)
@control(edit("upstream/pooling_checks/production.py", "pool < threads", "pool <= threads"))
def test_a_rule_finds_settings_that_break_it_and_not_the_nearest(by_settings, project) -> None:
    """Settings that break a rule of `check` or `check --deploy` are found by it alone, and the nearest by none.

    The rule on an open pool is tried where Django has one.
    """
    assert by_settings == expected(settings()) | {"silenced": ["pooling.W020"]}
    project.note()


NAMED = """
import sys
sys.argv = ["manage.py", "check", "--tag=pooling"]
sys.path.insert(0, {folder!r})
import settings.checked
settings.checked.INSTALLED_APPS = {apps}
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
CONFIG = "from django.apps import AppConfig\nclass Config(AppConfig):\n    name = {name!r}\n"
IN_READY = "    def ready(self):\n        from django.db import connection\n        connection.ensure_connection()\n"


@control(edit("upstream/pooling_checks/apps.py", "connection_created.connect(loaded.note)", "pass"))
@control(here('"in_apps", "pooling_checks"', '"pooling_checks", "in_apps"'))
def test_of_an_app_named_before_only_what_its_package_queries_is_missed(project, database, tmp_path) -> None:
    """What it queries in its models and in ready() is found, and what its apps.py queries at the import is not."""
    config = {name: CONFIG.format(name=name) for name in ("in_ready", "in_models", "in_apps")}
    files = {
        "in_ready/apps.py": config["in_ready"] + IN_READY,
        "in_models/apps.py": config["in_models"],
        "in_models/models.py": ASKS,
        "in_apps/apps.py": config["in_apps"] + ASKS,
    }
    for name in config:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    for path, text in files.items():
        (tmp_path / path).write_text(text)

    def place(*apps: str) -> str:
        code = NAMED.format(folder=str(tmp_path), apps=apps)
        status, said = project.run("-c", code, database_url=database.url, **CHECKED)
        assert status == 0, said
        return said.partition(f"First opened at {tmp_path}/")[2].partition(":")[0]

    found = [place("in_ready", "pooling_checks"), place("in_models", "pooling_checks")]
    missed = place("in_apps", "pooling_checks")
    assert (found, missed) == (["in_ready/apps.py", "in_models/models.py"], "")


# ---- what the server says --------------------------------------------------------------------------------------

TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout")
SLOTS = """
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int
"""
WORST = """
import itertools, json, os
from django.conf import settings
settings.DATABASES["elsewhere"] = {**settings.DATABASES["default"], "PORT": 1}
import django; django.setup()
from django.test.utils import override_settings
from pooling_checks.server import worst_moment
names = ("PROCESSES", "THREADS", "INSTANCES", "SURGE", "CELERY", "CRON", "MIGRATIONS", "OTHER")
for numbers in json.loads(os.environ["NUMBERS"]):
    with override_settings(POOLING_CHECKS=dict(zip(names, numbers, strict=True))):
        print(worst_moment("default"))
"""


def on_port(port: int, **settings: object) -> dict[str, Any]:
    """Return a case with another port on this machine."""
    return {"settings": {"HOST": "127.0.0.1", "PORT": port, **settings}}


def by_server(database: Database, limited: Role, slots: int, lends: PgBouncer, keeps: PgBouncer) -> Cases:
    """Return for each rule cases that break it, and the nearest that do not, on the server and behind a pooler."""
    as_limited = {"settings": {"USER": limited.name, "PASSWORD": limited.password}}
    cursors = {"DISABLE_SERVER_SIDE_CURSORS": True}
    limit = {"sql": [f'alter database "{database.name}" connection limit 10']}

    def most(number: int) -> dict[str, Any]:
        """Return a case in which this many connections are open at the worst moment."""
        return told(PROCESSES=1, THREADS=1, SURGE=0, MIGRATIONS=0, OTHER=number - 1)

    def role(what: str) -> dict[str, Any]:
        return {"sql": [f"alter role current_user {what}"]}

    return {
        "E008": [({"settings": {"CONN_MAX_AGE": "60"}}, {})],
        "W010": [
            (on_port(lends.port), on_port(lends.port, **cursors)),
            (on_port(lends.port), on_port(keeps.port)),
            (on_port(lends.port), {}),
        ],
        "W030": [(on_port(1), {})],
        "W031": [
            (most(slots + 1), most(slots)),
            (most(slots + 1), most(slots + 1) | on_port(lends.port, **cursors)),
        ],
        "W032": [(most(11) | as_limited, most(10) | as_limited), (most(11) | limit, most(10) | limit)],
        "W033": [(role("reset statement_timeout"), role("set statement_timeout = '5s'"))],
        "W034": [
            (
                role("reset idle_in_transaction_session_timeout"),
                role("set idle_in_transaction_session_timeout = '60s'"),
            )
        ],
    }


@pytest.fixture(scope="module")
def asked(project, server, tmp_path_factory) -> Iterator[tuple[dict[str, list[str]], dict[str, Any]]]:
    """What was found in each case of by_server, and the cases."""
    note_pgbouncer()
    limited = Role(server, "connection limit 10")
    with fresh(server) as database:
        lends, keeps = (
            PgBouncer(database, pool_mode=mode, server_round_robin=1) for mode in ("transaction", "session")
        )
        try:
            for role, setting in product((database.role, limited), TIMEOUTS):
                database.admin.execute(f"alter role \"{role.name}\" set {setting} = '5s'")
            # It has two server connections, and gives each transaction the other one.
            with lends.connect(database, autocommit=False) as one, lends.connect(database, autocommit=False) as two:
                assert (
                    one.execute("select pg_backend_pid()").fetchone()
                    != two.execute("select pg_backend_pid()").fetchone()
                )
            slots = database.admin.execute(SLOTS).fetchone()[0]
            cases = by_server(database, limited, slots, lends, keeps)
            asking = {name: {**case, "server": True} for name, case in flat(cases).items()}
            yield check(project, database, asking, tmp_path_factory.mktemp("server")), cases
        finally:
            lends.stop()
            keeps.stop()
            limited.drop(database.admin)


@control(edit("upstream/pooling_checks/server.py", "if has_wrong_age(alias[1])", "if True"))
@control(edit("upstream/pooling_checks/server.py", "return not backends(cursor).isdisjoint", "return not set().union"))
@control(edit("upstream/pooling_checks/server.py", "return not backends(cursor).isdisjoint", "return set().isdisjoint"))
@control(edit("upstream/pooling_checks/server.py", "range(5)", "range(1)"))
@control(
    edit("upstream/pooling_checks/server.py", 'messages.append(found("pooling.W030"', 'print(found("pooling.W030"')
)
@control(edit("upstream/pooling_checks/server.py", "most > slots", "most >= slots"))
@control(edit("upstream/pooling_checks/server.py", 'if not pooled and told("PROCESSES")', 'if told("PROCESSES")'))
@control(edit("upstream/pooling_checks/server.py", "most > limit", "most >= limit"))
@control(edit("upstream/pooling_checks/server.py", "for each in (role, database)", "for each in (role, role)"))
@control(edit("upstream/pooling_checks/server.py", "for each in (role, database)", "for each in (database, database)"))
@control(edit("upstream/pooling_checks/server.py", 'statement == "0"', "statement"))
@control(edit("upstream/pooling_checks/server.py", 'silence == "0"', "silence"))
def test_a_rule_finds_a_server_that_breaks_it_and_not_the_nearest(asked, project, server_version) -> None:
    """What breaks a rule of `check --database`, on the server or behind PgBouncer, is found by it alone.

    The nearest is found by none: transaction mode is detected by queries, and session mode not mistaken for it.
    """
    found, cases = asked
    assert found == expected(cases)
    note_postgres(server_version)
    note_pgbouncer()
    project.note()


@control(edit("upstream/pooling_checks/server.py", "math.ceil(", "math.floor("))
@control(edit("upstream/pooling_checks/server.py", "pool_size(settings) or told", "told"))
@control(edit("upstream/pooling_checks/server.py", "if place(settings) == place(here)", "if True"))
@pytest.mark.parametrize(("module", "aliases", "pool"), [("settings.pgbouncer", 2, None), ("settings.pool", 1, 4)])
def test_the_worst_moment_is_counted_as_the_guide_does(project, database, load, module, aliases, pool) -> None:
    """For many numbers, and one or two aliases of a server, the check counts what the functions of that page count.

    An alias of another server is not counted. Where an alias has Django's pool, its size replaces the threads.
    """
    if pool:
        needs_a_pool()
    sizing = execute(load("sizing/connections.py"))
    numbers = [*product((1, 3), (1, 4), (1, 20), (0, 0.25, 1.0), (0, 8), (0, 2), (0, 1), (0, 2))]
    settings = {"DJANGO_SETTINGS_MODULE": module, "DATABASE_DIRECT_URL": database.url}
    settings["NUMBERS"] = json.dumps(numbers)
    status, said = project.run("-c", WORST, database_url=database.url, **settings)
    assert status == 0, said
    assert [int(line) for line in said.splitlines()] == [
        sizing["peak_connections"](
            sizing["web_connections"](processes, pool or threads, instances, aliases=aliases),
            surge=surge,
            celery=celery,
            cron=cron,
            migrations=migrations,
            other=other,
        )
        for processes, threads, instances, surge, celery, cron, migrations, other in numbers
    ]


POOLED_AND_CHECKED = """
from settings.pool import *
from settings.checked import INSTALLED_APPS
options["pool"]["min_size"] = {least}
"""
ASKS_THE_SERVER = """
import sys
sys.path.insert(0, {folder!r})
from django.core.management import execute_from_command_line
import django
django.setup()
from django.db import connection
if pool := connection.settings_dict["OPTIONS"].get("pool"):
    connection.pool.open(wait=True)  # or the command may end before it has opened all
execute_from_command_line(["manage.py", "check", "--database", "default"])
"""


@control(
    edit(
        "upstream/pooling_checks/server.py",
        "second.temporary_connection()",
        "connections[name].temporary_connection()",
    ),
    fails_with="each is counted: not within",
)
@pytest.mark.parametrize(
    ("module", "least", "opened"),
    [("settings.checked", None, 2), ("pooled_and_checked", 3, 3 + 1), ("pooled_and_checked", 0, 1 + 1)],
)
def test_asking_a_server_opens_two_connections_or_a_pool_and_one(
    project, server, tmp_path, module, least, opened
) -> None:
    """check --database opens two sessions; with Django's pool its min_size, at least 1, and one more. None is left."""
    if module != "settings.checked":
        needs_a_pool()
    (tmp_path / "pooled_and_checked.py").write_text(POOLED_AND_CHECKED.format(least=least))
    settings = {"DJANGO_SETTINGS_MODULE": module, "DB_POOL_SIZE": "3"}
    with fresh(server) as database:
        command = ("-c", ASKS_THE_SERVER.format(folder=str(tmp_path)))
        status, said = project.run(*command, database_url=database.url, **settings)
        assert (status, "pooling.W033" in said) == (0, True), said
        until("all have left", lambda: database.backends() == [])
        until("each is counted", lambda: database.sessions() >= opened)
        assert database.sessions() == opened
    project.note()


# ---- what the warnings are about -------------------------------------------------------------------------------

FIRST = """
import sys
sys.path.insert(0, {folder!r})
import django; django.setup()
from threading import Barrier, Thread
from django.db import connection
both = Barrier(2)
def ask():
    with connection.cursor() as cursor:
        cursor.execute("show application_name")
        print(cursor.fetchone()[0], flush=True)
        both.wait()
    connection.close()
threads = [Thread(target=ask) for _ in range(2)]
for each in threads: each.start()
for each in threads: each.join()
"""
ROTATING = """
from settings.pool import *
DATABASES["default"]["ENGINE"] = "rotating"
DATABASES["default"]["OPTIONS"]["pool"] = {pool}
"""


@control(here('pool={"min_size": 2}', "pool=None"))
def test_a_pool_goes_on_with_the_first_parameters(project, database, tmp_path) -> None:
    """A backend returns other parameters at each call, but both of the pool's connections have the first."""
    needs_a_pool()
    for name in ("rotating/__init__.py", "rotating/base.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(MODULES[name])
    (tmp_path / "first.py").write_text(ROTATING.format(pool={"min_size": 2}))
    settings = {"DJANGO_SETTINGS_MODULE": "first"}
    status, said = project.run("-c", FIRST.format(folder=str(tmp_path)), database_url=database.url, **settings)
    assert (status, len(set(said.splitlines()))) == (0, 1), said
    assert len(said.splitlines()) == 2


@control(here("search_path=tenant", "statement_timeout=5s"), fails_with="unsupported startup parameter")
def test_a_search_path_in_options_is_refused_before_1_26(database, pooler) -> None:
    """From 1.26 on the client connects, and has the search_path; before PostgreSQL 18 a client with another path
    changes it. Before 1.26 the client is refused, for this setting or for any options at all.
    """
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    options = "-c search_path=tenant"
    if at_least(1, 26):
        with (
            bouncer.connect(database, options=options) as one,
            bouncer.connect(database, options=f"{options}_b") as other,
        ):
            paths = [client.execute("show search_path").fetchone()[0] for client in (one, other, one)]
        kept = database.admin.info.server_version >= 180000
        assert paths == ["tenant", "tenant_b", "tenant" if kept else "tenant_b"]
    else:
        with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
            bouncer.connect(database, options=options)


@control(here('["CONN_MAX_AGE"] = "60"', '["CONN_MAX_AGE"] = 60'))
@control(here("CONN_MAX_AGE = 600", "DATABASES['default']['CONN_MAX_AGE'] = 600"))
def test_an_age_that_is_a_text_fails_the_first_query_and_one_beside_databases_is_not_taken(
    project, database, tmp_path
) -> None:
    """As text it raises TypeError on connecting; beside DATABASES it is ignored. Django's checks report neither."""
    beside = "from settings.checked import *\ndel DATABASES['default']['CONN_MAX_AGE']\nCONN_MAX_AGE = 600\n"
    (tmp_path / "beside.py").write_text(beside)
    script = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import django; django.setup()
from django.core.checks import run_checks
from django.db import connection
print(connection.settings_dict["CONN_MAX_AGE"])
connection.settings_dict["CONN_MAX_AGE"] = "60"
print(*[each.id for each in run_checks()])
try:
    connection.cursor().execute("select 1")
except TypeError as error:
    print(error)
"""
    status, said = project.run("-c", script, database_url=database.url, DJANGO_SETTINGS_MODULE="beside")
    found = "pooling.E008 pooling.W009"
    assert (status, said.splitlines()) == (0, ["0", found, "unsupported operand type(s) for +: 'float' and 'str'"])


# ---- the commands ----------------------------------------------------------------------------------------------


def limit(database: Database, **settings: str) -> None:
    """Set timeouts for a database's role."""
    for name, value in settings.items():
        database.admin.execute(f"alter role \"{database.role.name}\" set {name} = '{value}'")


@control(edit("upstream/pooling_checks/told.py", "{told('GUIDE').rstrip('/')}/{page}", "{told('GUIDE')}"))
def test_three_commands_say_what_they_find(project, database, load, transcript) -> None:
    """They report missing health checks, a low connection limit and missing timeouts, with hints that link to pages."""
    database.admin.execute(f'alter database "{database.name}" connection limit 12')
    environment = {**project.environment(database.url), "DB_CONN_HEALTH_CHECKS": "False"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["sh", project.folder / "check.sh"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout
    snippet = load("upstream/check.sh")
    evidence.ran(snippet)
    transcript(snippet, done.stdout)
    project.note()


@control(here('"--database=default", "--fail-level=WARNING"', '"--database=default", "--fail-level=ERROR"'))
@control(here('["--fail-level=WARNING"], 1', "[], 1"))
def test_a_build_can_stop_at_a_warning(project, database) -> None:
    """With --fail-level=WARNING the exit status is 1 where a rule finds something, and 0 where none does.

    Without it, a warning leaves it at 0.

    With --tag=pooling Django's own checks are not run, and none is counted as silenced.
    """
    unchecked = {**CHECKED, "DB_CONN_HEALTH_CHECKS": "False"}
    for level, expected in ((["--fail-level=WARNING"], 1), ([], 0)):
        status, said = project.run("manage.py", "check", "--deploy", *level, database_url=database.url, **unchecked)
        assert (status, "pooling.W020" in said) == (expected, True)
    command = ("manage.py", "check", "--deploy", "--database=default", "--fail-level=WARNING")
    status, said = project.run(*command, database_url=database.url, **CHECKED)
    assert (status, "pooling.W033" in said, "(3 silenced)" in said) == (1, True, True)
    limit(database, statement_timeout="5s", idle_in_transaction_session_timeout="60s")
    status, said = project.run(*command, "--tag=pooling", database_url=database.url, **CHECKED)
    assert (status, said) == (0, "System check identified no issues (0 silenced).\n")


@control(edit("upstream/pooling_checks/told.py", "id=rule", "id=rule.lower()"))
def test_a_rule_that_is_silenced_is_not_shown(by_settings, project) -> None:
    """SILENCED_SYSTEM_CHECKS silences a rule by its id, and no other."""
    assert by_settings["silenced"] == ["pooling.W020"]
    project.note()


UNTOLD = "ASGI_APPLICATION"
EVERYTHING = """
from settings.{everything} import *
from settings.checked import POOLING_CHECKS
INSTALLED_APPS = ["orders", "pooling_checks"]
"""


@control(edit("upstream/settings/pgbouncer.py", '_CURSORS"] = True', '_CURSORS"] = False'))
def test_the_example_project_passes_all(project, database, pooler, tmp_path) -> None:
    """Behind PgBouncer, with Django's own pool where there is one, no rule finds anything on either alias."""
    limit(database, statement_timeout="5s", idle_in_transaction_session_timeout="60s")
    (tmp_path / "everything.py").write_text(EVERYTHING.format(everything="pooled" if has_a_pool() else "pgbouncer"))
    through = pooler(database, pool_mode="transaction").url(database)
    status, said = project.run(
        "manage.py",
        "check",
        f"--pythonpath={tmp_path}",
        "--settings=everything",
        "--deploy",
        "--database=default",
        "--database=direct",
        database_url=through,
        DATABASE_DIRECT_URL=database.url,
    )
    assert (status, said) == (0, "System check identified no issues (3 silenced).\n")


@control(replace("tests.proofs.how_to.test_check_your_project:UNTOLD", "WSGI_APPLICATION"))
def test_startproject_names_no_asgi_application() -> None:
    """A new project has asgi.py, but no setting ASGI_APPLICATION."""
    made = Path(django.__file__).parent / "conf/project_template/project_name"
    assert (made / "asgi.py-tpl").exists()
    assert UNTOLD not in (made / "settings.py-tpl").read_text(encoding="utf-8")
    evidence.on(Django=django.__version__)


# ---- copied out ------------------------------------------------------------------------------------------------

COMMANDS = "upstream/orders/management/commands"
OLDEST_PYTHON = (3, 10)
DEEP = 200_000  # operators in a chain: more than Python 3.10's stack can take
ELSEWHERE = """
import os
from urllib.parse import urlsplit
url = urlsplit(os.environ["DATABASE_URL"])
SECRET_KEY = "for a second"
INSTALLED_APPS = ["vendored", "vendored.checks"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path[1:],
        "USER": url.username,
        "PASSWORD": url.password,
        "HOST": url.hostname,
        "PORT": url.port,
        "CONN_MAX_AGE": 60,
    }
}
"""
# One process runs all three: a new Python takes longer to start than they do.
ALL = """
import io, json, platform, runpy, sys
from contextlib import suppress
from pathlib import Path
import django
from django.core.management import call_command
django.setup()
checks, doctor = io.StringIO(), io.StringIO()
call_command("check", "--deploy", "--database=default", stderr=checks)
with suppress(SystemExit):
    call_command("pool_doctor", "--json", stdout=doctor)
audit = runpy.run_path("audit.py")["audit"]
found = {str(case): [(each.line, each.rule) for each in audit([case])] for case in Path("planted").iterdir()}
import psycopg
versions = {"Python": platform.python_version(), "Django": django.__version__, "psycopg": psycopg.__version__}
print(json.dumps([versions, checks.getvalue(), doctor.getvalue(), found]))
"""


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """Another project: the checks under another name, the doctor's files in an app, and the audit."""
    snippets.export(tmp_path / "vendored/checks", below=APP)
    snippets.export(tmp_path / "vendored/management/commands", below=COMMANDS)
    for other in (tmp_path / "vendored/management/commands").glob("[!_p]*"):
        other.unlink()
    snippets.export(tmp_path, below="audit")
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    return tmp_path


@control(edit("upstream/pooling_checks/server.py", "databases or ()", "()"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "'slots'", "'places'"))
@control(edit("audit/audit.py", r"listen\s+", r"unlisten\s+"))
@pytest.mark.parametrize(
    ("release", "python"), [(release, python) for release, pythons in others.COPIED.items() for python in pythons]
)
def test_copied_out_it_runs_in_another_project(release, python, elsewhere, database) -> None:
    """The checks under another name, with --deploy and --database, the doctor and the audit run in another project.

    They run on each Python with a Django that supports it, and with psycopg alone; Python 3.10 can parse each file.
    """
    if release == "django-6.1" and database.admin.info.server_version < 150000:
        pytest.skip("needs PostgreSQL 15, as Django 6.1 does")
    try:
        program, packages = others.copied(release, python)
    except RuntimeError as error:
        pytest.skip(f"needs Python {python}: {error}")
    (django,) = distributions(name="django", path=[str(packages)])
    assert f"Programming Language :: Python :: {python}" in django.metadata.get_all("Classifier")
    expected = {str(case.relative_to(elsewhere)): each for case, each in planted(elsewhere / "planted").items()}
    (elsewhere / "planted/deep").mkdir()
    (elsewhere / "planted/deep/code.py").write_text("x = a" + "+ b" * DEEP)
    expected["planted/deep"] = {(1, "not-read")}
    done = subprocess.run(
        [*program, "-c", ALL],
        cwd=elsewhere,
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database.url,
            "DJANGO_SETTINGS_MODULE": "elsewhere",
            "PYTHONPATH": str(packages),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    versions, checks, doctor, found = json.loads(done.stdout)
    assert versions["Python"].startswith(f"{python}.")
    assert re.findall(r"pooling\.\w+", checks) == ["pooling.W020", "pooling.W033", "pooling.W034"]
    assert {"slots", "sessions"} <= {each["item"] for each in json.loads(doctor)["findings"]}
    assert {case: {(line, rule) for line, rule in each} for case, each in found.items()} == expected
    for file in elsewhere.glob("**/*.py"):
        if not file.is_relative_to(elsewhere / "planted"):
            ast.parse(file.read_text(encoding="utf-8"), feature_version=OLDEST_PYTHON)
    for path in snippets.paths():
        if re.match(rf"{APP}/|{COMMANDS}/_?pool_doctor|audit/", path):
            evidence.ran(snippets.read(path))
    evidence.on(**versions)


# ---- the page --------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| `(pooling\.\w+)` \| .*\| \[[^]]+\]\(([^)]*)\)(.*)\|$", re.MULTILINE)
# They show that a rule finds something, not that it is right to.
FINDS = (
    "test_a_rule_finds_settings_that_break_it_and_not_the_nearest",
    "test_a_rule_finds_a_server_that_breaks_it_and_not_the_nearest",
)


@control(edit("upstream/pooling_checks/rules.py", "how-to/forks/#a-query-in-ready", "how-to/forks/"))
@control(replace("tests.proofs.how_to.test_check_your_project:FINDS", ()))
def test_the_table_has_every_rule_with_the_page_of_its_hint(load) -> None:
    """The rows are the rules of the code in their order, and each links to the page of the rule's hint.

    Each cites a proof of what it warns of, except the first, which is about these checks themselves.
    """
    rules = execute(load(RULES))["RULES"]
    rows = ROW.findall((ROOT / PAGE).read_text())
    assert [(rule, address(link)) for rule, link, _ in rows] == [(rule, each.page) for rule, each in rules.items()]
    proofs = {rule: set(re.findall(r'"(test_\w+)"', why)) for rule, _, why in rows}
    assert [rule for rule in proofs if proofs[rule] <= {*FINDS}] == ["pooling.W001"]


def address(link: str) -> str:
    """Return where a link on the page leads on the site: "how-to/forks/#anchor"."""
    path, _, anchor = link.partition("#")
    page = os.path.normpath(f"how-to/{path or 'check-your-project.md'}").removesuffix(".md")
    return f"{page}/" + (f"#{anchor}" if anchor else "")
