"""Proves docs/reference/calculator.md: its formulas, and the files that it writes, on real servers.

tests/site/test_calculator.py shows that the page computes the same in a browser.
"""

import random
import re
import socket
from contextlib import ExitStack
from functools import cache

import psycopg
import pytest

from proven import evidence
from proven.macros.calculator import calculated_files
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from proven.sources.snippets import parse
from tests.lint import test_env, test_pgbouncer
from tests.proofs.pooled import settings_of
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import own_major
from tests.stack.scripts import execute
from tests.stack.upstream import needs_a_pool, serving
from tests.stack.wait import until

BUDGET = "sizing/budget.py"
IMPORTED = ("sizing/connections.py", "sizing/queueing.py")
CONF = "sizing/postgresql.conf"
INI = "pgbouncer/pgbouncer.ini"
ADDED = {"reserve_pool_size", "reserved_connections", "DB_POOL_SIZE"}  # where they are not 0
WORKED = 6  # deployments


@pytest.fixture
def budget(load):
    """The names that the script defines."""
    for path in IMPORTED:
        evidence.ran(load(path))
    return execute(load(BUDGET))


@pytest.fixture
def restarted(setup, cluster):
    """Restart PostgreSQL with a postgresql.conf, and check the settings then in force."""
    setup.database.leave()
    postgresql = cluster(cluster_name="reference-calculator")
    before = dict(postgresql.settings)

    def start(text) -> None:
        postgresql.settings.update(settings_of(text))
        postgresql.restart()
        evidence.ran(evidence.load(CONF), "started")
        for name, value in settings_of(text).items():
            assert setup.database.admin.execute(f"show {name}").fetchone() == (value,)  # type: ignore[arg-type]

    yield start
    setup.database.leave()
    postgresql.settings.clear()
    postgresql.settings.update(before)
    postgresql.restart()


@pytest.fixture
def pooled(setup):
    """Start PgBouncer with an ini that the calculator wrote, and check the settings then in force."""
    with ExitStack() as started:

        def start(text, files: int | None = None, **more_users: str) -> PgBouncer:
            ini = parse(INI, text)
            users = {**setup.users, **more_users}
            bouncer = PgBouncer(named={"upstream": setup.database}, ini=ini, users=users, files=files)
            started.callback(bouncer.stop)
            setup.note()
            evidence.ran(evidence.load(INI), "started")  # its text, but for the numbers
            effective = {row["key"]: row["value"] for row in bouncer.show("config")}
            for name, value in settings_of(text.partition("[pgbouncer]")[2]).items():
                if name not in ("listen_addr", "listen_port", "auth_file", "admin_users"):
                    assert effective[name] == value, name
            return bouncer

        yield start


@cache
def texts() -> dict[str, str]:
    """Return the files that the calculator fills in."""
    return calculated_files({path: snippets.read(path) for path in snippets.paths()})


def written(budget, given) -> dict[str, str]:
    """Return the files as the calculator writes them."""
    return {name: budget["fill"](texts()[name], values) for name, values in budget["settings"](given).items()}


def some(budget, seed=5, count=300):
    """Return deployments of every size, none of which is refused."""
    chance = random.Random(seed)
    found = []
    while len(found) < count:
        changed = {
            "instances": chance.choice((1, 2, 5, 20, 200)),
            "max_instances": chance.choice((0, 0, 50)),
            "processes": chance.randint(1, 8),
            "threads": chance.randint(1, 16),
            "pool": chance.choice((0, 0, 10)),
            "aliases": chance.randint(1, 3),
            "surge": chance.choice((0, 25, 33, 100)),
            "celery": chance.randint(0, 50),
            "replicas": chance.randint(0, 4),
            "pairs": chance.randint(1, 4),
            "reserve_pool": chance.choice((0, 5)),
            "max_connections": chance.randint(10, 2000),
            "reserved": chance.choice((0, 2)),
            "rate": chance.choice((0, 10, 300, 4000)),
            "db_ms": chance.choice((0, 1.5, 10, 120)),
            "wait_ms": chance.choice((0, 1, 20)),
        }
        found.append(budget["defaults"](**changed))
    return found


def typed(given) -> dict[str, str]:
    """Return numbers as they are typed in."""
    return {name: str(value) for name, value in given.items()}


# ---- formulas ------------------------------------------------------------------------------------------------


@control(edit("sizing/budget.py", '"migrations": Field(1, ', '"migrations": Field(2, '))
def test_the_plan_gives_what_the_comments_say(run_script, load, budget) -> None:
    """The script prints what the comment after each print says; its table has a row for each worked deployment."""
    names = run_script(load(BUDGET))
    assert len(budget["worked_plans"]()) == len(names["WORKED"]) == WORKED


@control(edit("sizing/budget.py", "ceil_div(opened * 5, 4), superusers", "ceil_div(opened * 6, 4), superusers"))
@control(edit("sizing/budget.py", "opened * 5 > usable * 4", "opened * 4 > usable * 3"))
def test_the_least_max_connections_fits_and_one_less_does_not(budget) -> None:
    """For hundreds of deployments, the recommended max_connections fits, and one less is tight.

    Four fifths of the usable slots fit, one more and up to all of them is tight, and more than all is too many.
    """
    for given in some(budget):
        found = budget["plan"](given)
        usable = found["usable"]
        at = (usable * 4 // 5, usable * 4 // 5 + 1, usable, usable + 1)
        assert [budget["band"](opened, usable) for opened in at] == ["fits", "tight", "tight", "too many"]
        enough = budget["plan"]({**given, "max_connections": found["least"]})
        short = budget["plan"]({**given, "max_connections": found["least"] - 1})
        assert (enough["band"], enough["opened"]) == ("fits", found["opened"])
        assert short["band"] == "tight"


@control(edit("sizing/budget.py", "behind = replicas * most_servers", "behind = (replicas + surge) * most_servers"))
@control(
    edit("sizing/budget.py", "behind = replicas * most_servers", 'behind = replicas * most_servers * whole["aliases"]')
)
@control(edit("sizing/budget.py", "behind + straight if replicas", "behind if replicas"))
def test_behind_pgbouncer_neither_surge_nor_aliases_are_counted(budget) -> None:
    """They leave what is open as it is; another PgBouncer adds its pools, and another connection past it one."""
    for given in some(budget):
        if given["replicas"]:
            found = budget["plan"](given)

            def more(given=given, **changed: float) -> int:
                return budget["plan"]({**given, **changed})["opened"]

            given["pool_size"] = found["size"]
            assert more(surge=0, aliases=1) == more(surge=300, aliases=20) == found["opened"]
            assert more(replicas=given["replicas"] + 1) == found["opened"] + found["max_db_connections"]
            assert more(other=given["other"] + 1) == found["opened"] + 1


@control(edit("sizing/queueing.py", "servers += 1", "servers += 2"))
def test_the_recommended_pool_is_the_smallest_that_keeps_the_wait(budget) -> None:
    """For hundreds of deployments, the wait is no longer than accepted; with one connection less, it is."""
    for given in some(budget):
        if given["replicas"]:
            found = budget["plan"](given)
            assert found["wait"] <= given["wait_ms"]
            if found["needed"] > 1:
                smaller = budget["plan"]({**given, "pool_size": found["needed"] - 1})
                assert smaller["wait"] > given["wait_ms"]


@control(edit("sizing/budget.py", "// (100 + surge)", "// 100"))
def test_the_other_way_round_gives_the_most_that_fits(budget) -> None:
    """As many instances, threads or server connections as it says fit into the slots, and one more does not."""
    plan, reached = budget["plan"], set()
    for one in some(budget):
        usable = plan(one)["usable"]
        direct = {**one, "replicas": 0, "max_instances": 0}
        in_each = "pool" if one["pool"] else "threads"
        for name, found, given in (
            ("instances", "most_instances", direct),
            (in_each, "most_threads", direct),
            ("pool_size", "largest_pool", {**one, "replicas": max(1, one["replicas"])}),
        ):
            most = plan(given)[found]
            opened = {more: plan({**given, name: most + more})["opened"] for more in (0, 1) if most + more > 0}
            assert opened[1] > usable
            if 0 in opened:
                assert opened[0] <= usable
                reached.add(found)
    assert reached == {"most_instances", "most_threads", "largest_pool"}


@control(edit("sizing/budget.py", "<= float(number[1]) <= field.highest", "<= float(number[1])"))
def test_what_makes_no_sense_is_refused_with_what_to_type(budget) -> None:
    """Empty, non-numeric, negative or huge input has one message at its field, and so have contradictory numbers."""
    fine = typed(budget["defaults"]())
    assert budget["refusals"](fine) == {}
    for name, field in budget["FIELDS"].items():
        for wrong in (
            "",
            " ",
            "-1",
            "1e3",
            "12,5",
            "many",
            "NaN",
            "Infinity",
            "0000000005",
            "٣",
            str(field.highest + 1),
        ):
            refused = budget["refusals"]({**fine, name: wrong})
            assert refused == {name: field.wants()}, wrong
            assert str(field.highest) in refused[name]
        if field.whole:
            assert budget["refusals"]({**fine, name: "1.5"}) == {name: field.wants()}
    assert "3 reserved" in budget["refusals"]({**fine, "max_connections": "3"})["max_connections"]
    assert "busy" in budget["refusals"]({**fine, "rate": "90000", "db_ms": "5000"})["rate"]


# ---- files ---------------------------------------------------------------------------------------------------


@control(edit("sizing/budget.py", "elif value:", "else:"))
def test_every_file_reads_as_it_is_meant(budget) -> None:
    """Hundreds of pgbouncer.ini and .env files have the plan's values, and pass the guide's own linters."""
    for given in [*some(budget), *(budget["defaults"](**changed) for changed in budget["WORKED"].values())]:
        files = written(budget, given)
        assert ("pgbouncer.ini" in files) == (given["replicas"] > 0)
        for name, values in budget["settings"](given).items():
            assert settings_of(files[name]) == settings_of(texts()[name]) | {
                key: str(value) for key, value in values.items() if value or key not in ADDED
            }
            assert settings_of(files[name]).keys() - settings_of(texts()[name]).keys() <= ADDED
        assert test_env.problems(".env", files[".env"]) == []
        assert test_pgbouncer.problems("pgbouncer.ini", files.get("pgbouncer.ini", "")) == []


@control(
    edit("sizing/budget.py", 'line.sub(rf"{name}\\g<1>{value}", text)', 'line.sub(rf"{name}\\g<1>0{value}", text)')
)
@pytest.mark.parametrize("number", range(WORKED))
def test_every_worked_deployment_starts_with_the_files_it_gets(number, budget, setup, restarted, pooled) -> None:
    """PostgreSQL and PgBouncer start with the files, have every number that is filled in, and serve the application."""
    given = budget["defaults"](**[*budget["WORKED"].values()][number])
    if given["reserved"] and own_major() < 16:
        pytest.skip("needs PostgreSQL 16, which brought reserved_connections")
    files = written(budget, given)
    setup.note()
    restarted(files["postgresql.conf"])
    if given["replicas"]:
        bouncer = pooled(files["pgbouncer.ini"])
        with bouncer.connect(setup.database) as client:
            assert client.execute("select current_user").fetchone() == ("upstream",)
    with setup.database.connect() as client:
        assert client.execute("select current_user").fetchone() == ("upstream",)


@control(
    edit(
        "sizing/connections.py", "return max_connections - superuser_reserved - reserved", "return max_connections + 1"
    ),
    fails_with="too many clients",
)
@control(edit("sizing/budget.py", "behind + straight if replicas", "behind + straight + 1 if replicas"))
def test_postgresql_sees_as_many_sessions_as_the_plan_says(budget, setup, restarted, pooled) -> None:
    """With all pools and reserves in use and the others connected, that many are open; only the other slots are left.

    Two PgBouncers have a pool for each of two users.
    """
    of_pgbouncer = {"replicas": 2, "pairs": 2, "pool_size": 2, "reserve_pool": 1}
    given = budget["defaults"](**of_pgbouncer, max_connections=1, superuser_reserved=0)
    least = budget["plan"](given)["least"]
    given |= {"max_connections": least}
    found, files = budget["plan"](given), written(budget, given)
    setup.note()
    restarted(files["postgresql.conf"])
    pairs = [{"user": name, "password": setup.roles[name].password} for name in ("upstream", "upstream_owner")]
    second = {each["user"]: each["password"] for each in pairs[1:]}
    with ExitStack() as opened:
        for _ in range(found["straight"]):
            opened.enter_context(setup.database.connect())
        for _ in range(given["replicas"]):
            bouncer = pooled(files["pgbouncer.ini"], **second)
            bouncer.reload(reserve_pool_timeout=0.01)
            for who in pairs:
                for _ in range(given["pool_size"] + given["reserve_pool"]):
                    client = opened.enter_context(bouncer.connect(setup.database, autocommit=False, **who))
                    client.execute("select 1")
            with bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
                bouncer.connect(setup.database).execute("select 1")
        assert len(setup.database.backends()) == found["opened"]
        left = found["usable"] - found["opened"] - 1  # the proof's own session as the superuser
        for _ in range(left):
            opened.enter_context(setup.database.connect())
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            setup.database.connect()


@control(edit("sizing/budget.py", "address(6432 if pooled else 5432)", "address(5432)"))
@pytest.mark.parametrize(
    ("changed", "has"),
    [
        ({}, "default 6432 60 None, direct 5432 0 None"),
        ({"replicas": 0, "processes": 3}, "default 5432 60 None"),
        ({"replicas": 0, "pool": 10}, "default 5432 0 10"),
        ({"pool": 10}, "default 6432 0 10, direct 5432 0 None"),
    ],
    ids=["pooled", "straight", "a pool of its own", "both"],
)
def test_django_takes_the_variables_that_it_gets(changed, has, budget, project) -> None:
    """Django has the ages, addresses and pools that .env names, and Gunicorn the processes and threads."""
    values = dict(re.findall(r"^(\w+)=(.*)$", written(budget, budget["defaults"](**changed))[".env"], re.MULTILINE))
    url = values.pop("DATABASE_URL")
    asked = (
        "from django.db import connections as of; "
        'print(*(f\'{n} {s["PORT"]} {s["CONN_MAX_AGE"]} {s["OPTIONS"].get("pool", {}).get("max_size")}\''
        " for n in of for s in [of[n].settings_dict]), sep=', ')"
    )
    status, said = project.run("manage.py", "shell", "--verbosity=0", "-c", asked, database_url=url, **values)
    assert status == 0, said
    assert said.strip() == has
    status, said = project.run("-m", "gunicorn", "--print-config", database_url=url, **values)
    effective = dict(re.findall(r"^(\w+) += (.*)$", said, re.MULTILINE))
    assert (effective["workers"], effective["threads"]) == (values["GUNICORN_WORKERS"], values["GUNICORN_THREADS"])
    evidence.ran(evidence.load("sizing/process.env"))


@control(here('"DB_CONN_MAX_AGE": "0"', '"DB_CONN_MAX_AGE": "60"'))
@pytest.mark.parametrize("pool", [0, 3], ids=["no pool", "a pool of three"])
def test_ten_requests_share_the_pool_that_the_variables_name(pool, budget, project, database) -> None:
    """With .env's variables ten requests reach no more backends than the pools hold; without pool or age, ten."""
    needs_a_pool()
    given = budget["defaults"](replicas=0, pool=pool)
    values = dict(re.findall(r"^(\w+)=(.*)$", written(budget, given)[".env"], re.MULTILINE))
    values |= {"DATABASE_URL": database.url} | ({} if pool else {"DB_CONN_MAX_AGE": "0"})
    with serving(project, database, **values) as gunicorn:
        met = {gunicorn.backend() for _ in range(10)}
        gunicorn.note()
    assert len(met) <= given["processes"] * pool if pool else len(met) == 10


@control(edit("sizing/budget.py", "most_clients + most_servers + OTHER_FILES", "most_clients + most_servers"))
def test_pgbouncer_serves_all_clients_with_the_open_files_that_the_plan_says(budget, setup, pooled) -> None:
    """It expects to use no more, and refuses one client too many; with only max_client_conn files, the last hang."""
    given = budget["defaults"](pool_size=2)
    found, ini = budget["plan"](given), written(budget, given)["pgbouncer.ini"]

    def expected(bouncer: PgBouncer) -> int:
        return int(re.findall(r"max expected fd use: (\d+)", bouncer.leash.said())[0])

    enough = pooled(ini, files=found["open_files"])
    assert expected(enough) <= found["open_files"]
    with ExitStack() as clients:
        for _ in range(found["max_client_conn"] - 1):  # the console session counts as one as well
            clients.enter_context(enough.connect(setup.database)).execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="no more connections allowed"):
            enough.connect(setup.database)
    few = pooled(ini, files=found["max_client_conn"])
    assert expected(few) > found["max_client_conn"]
    with ExitStack() as clients:
        for _ in range(found["max_client_conn"]):
            clients.enter_context(socket.create_connection(("127.0.0.1", few.port)))
        until("it has run out", lambda: "accept() failed: Too many open files" in few.leash.said())
        assert "no more connections allowed" not in few.leash.said()


@control(here('DB_CONN_MAX_AGE="60"', 'DB_CONN_MAX_AGE="0"'))
def test_django_refuses_a_pool_together_with_an_age(database, project) -> None:
    """Its error says that pooling supports no persistent connections."""
    needs_a_pool()
    code = "from django.db import connection as it; it.settings_dict['OPTIONS']['pool'] = True; it.ensure_connection()"
    status, said = project.run("manage.py", "shell", "-c", code, database_url=database.url, DB_CONN_MAX_AGE="60")
    assert status
    assert "Pooling doesn't support persistent connections" in said
