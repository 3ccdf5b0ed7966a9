"""Proves docs/reference/show-columns.md: the list of columns is the running PgBouncer's own."""

import pprint
import re
from collections import Counter

import pytest

from proven import ROOT, evidence
from proven.problems import ProblemError, nearest
from proven.sources.controls import control, edit, here
from tests.stack import pgbouncer
from tests.stack.database import run_psql
from tests.stack.pgbouncer import PgBouncer
from tests.stack.scripts import execute
from tests.stack.wait import until

COLUMNS = "pgbouncer/columns.py"
TEXT = "x" * 100_000
VIEWS = ("pools", "clients", "servers", "stats", "databases", "lists")
RECORDED = re.compile(r"^COLUMNS: .*?^(?=# endregion: recorded)", re.MULTILINE | re.DOTALL)


@pytest.fixture
def busy(database, pooler):
    """PgBouncer with a pool of 1, a client that has its server connection, and one that waits for it.

    Their role may read the console.
    """
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1, stats_users=database.role.name)
    holding = bouncer.connect(database, application_name="holding", autocommit=False)
    holding.execute("select 1")
    waiting = bouncer.connect(database, application_name="waiting")
    waiting.pgconn.send_query(b"select 1")
    until("one client waits", lambda: row_of(bouncer, "clients", application_name="waiting")["state"] == "waiting")
    yield bouncer
    holding.close()
    waiting.close()


def row_of(bouncer: PgBouncer, view: str, **wanted) -> dict:
    """Return the one row of a view that has these values."""
    (row,) = [row for row in bouncer.show(view) if wanted.items() <= row.items()]
    return row


def shown(bouncer: PgBouncer) -> dict[str, str]:
    """Return the columns of each view; for lists, the names that it has in its rows."""
    found = {view: " ".join(bouncer.show(view)[0]) for view in VIEWS}
    return {**found, "lists": " ".join(row["list"] for row in bouncer.show("lists"))}


@control(edit("pgbouncer/columns.py", "cl_waiting_cancel_req", "cl_waiting_cancel"))
def test_every_column_is_listed_and_no_other(busy, load, request) -> None:
    """If one appears or disappears, or has no meaning, the proof fails and names it."""
    snippet = load(COLUMNS)
    names = execute(snippet)
    here = pgbouncer.version().rpartition(".")[0]
    columns = shown(busy)
    if request.config.getoption("record") and names["COLUMNS"].get(here) != columns:
        record({**names["COLUMNS"], here: columns})
        names = execute(load(COLUMNS))
    for view, listed in columns.items():
        recorded = names["COLUMNS"].get(here, {}).get(view, "").split()
        for name in sorted({*listed.split()} ^ {*recorded}):
            there = "is there" if name in listed.split() else "is gone"
            what = f"{view}.{name} {there} in PgBouncer {here}{nearest(name, recorded)}"
            raise ProblemError(snippet.place, 1, f"{what}: make record ONLY={snippet.place}")
        for name in listed.split():
            assert name in names["MEANINGS"][view], f"{view}.{name} has no meaning yet"


def record(columns: dict[str, dict[str, str]]) -> None:
    """Write the list of columns into the snippet."""
    file = ROOT / "snippets" / COLUMNS
    text = "COLUMNS: dict[str, dict[str, str]] = {\n"
    for version in sorted(columns, key=lambda v: [int(n) for n in v.split(".")]):
        text += f'    "{version}": {{\n'
        for view, names in columns[version].items():
            lines = pprint.pformat(names, width=60).strip("()").replace("'", '"').splitlines()
            inner = "".join(f"            {line.strip()}\n" for line in lines)
            text += f'        "{view}": (\n{inner}        ),\n'
        text += "    },\n"
    file.write_text(RECORDED.sub(lambda _: text + "}\n", file.read_text()))


@control(
    here(
        'until("maxwait rises"',
        'database.terminate(database.backends()[0]); until("it is served", lambda: not row_of(busy, "pools", '
        'database=database.name)["cl_waiting"]); until("maxwait rises"',
    ),
    fails_with="maxwait rises: not within",
)
@control(here('before = pool["maxwait_us"] + ', "before = "))
def test_pools_tell_that_a_client_waits_and_for_how_long(busy, database) -> None:
    """One client holds the only server connection, one waits, and maxwait rises; once that session ends, all are 0.

    From the beginning maxwait_us, or with it maxwait, is above 0.
    """
    pool = row_of(busy, "pools", database=database.name)
    assert (pool["cl_active"], pool["cl_waiting"], pool["sv_active"], pool["sv_idle"]) == (1, 1, 1, 0)
    before = pool["maxwait_us"] + 1_000_000 * pool["maxwait"]
    assert before > 0

    def longer() -> bool:
        now = row_of(busy, "pools", database=database.name)
        return now["maxwait_us"] + 1_000_000 * now["maxwait"] > before

    until("maxwait rises", longer)
    database.terminate(database.backends()[0])
    zero = ("sv_active", "cl_waiting", "maxwait", "maxwait_us")
    until("all are 0", lambda: not any(row_of(busy, "pools", database=database.name)[name] for name in zero))


@control(here('application_name="holding"', 'application_name="waiting"'))
def test_link_and_remote_pid_lead_from_a_client_to_its_backend(busy, database) -> None:
    """The client's link is the server connection's ptr, whose remote_pid is the backend's."""
    client = row_of(busy, "clients", application_name="holding")
    server = row_of(busy, "servers", database=database.name)
    assert client["link"] == server["ptr"]
    assert server["link"] == client["ptr"]
    assert [server["remote_pid"]] == database.backends()
    assert server["application_name"] == "holding"
    assert row_of(busy, "clients", application_name="waiting")["link"] == ""


@control(here('application_name="kept"', 'application_name="other"'))
@control(here('pool_mode="transaction"', 'pool_mode="session"'))
def test_an_idle_server_connection_keeps_its_last_clients_name(database, pooler) -> None:
    """In transaction mode it still has it after the client has left; in session mode DISCARD ALL takes it away."""
    bouncer = pooler(database, pool_mode="transaction")
    with bouncer.connect(database, application_name="kept") as client:
        client.execute("select 1")
    until("it is idle", lambda: row_of(bouncer, "servers", database=database.name)["state"] == "idle")
    assert row_of(bouncer, "servers", database=database.name)["application_name"] == "kept"


@control(here("has_begun", "is_over"))
def test_stats_note_a_wait_when_it_is_over(busy, database) -> None:
    """A client that still waits is seen in the pools, and not yet in total_wait_time."""

    def has_begun() -> bool:
        return row_of(busy, "pools", database=database.name)["maxwait_us"] > 20_000

    def is_over() -> bool:
        for pid in database.backends():
            database.terminate(pid)
        return row_of(busy, "pools", database=database.name)["cl_waiting"] == 0

    def noted() -> int:
        return int(row_of(busy, "stats", database=database.name)["total_wait_time"])

    before = noted()
    until("the client has waited for a while", has_begun)
    assert noted() == before
    until("it waits no more", is_over)
    assert noted() > before


@control(here('client.execute("select length(%s)", [TEXT])', 'client.execute("select %s", [TEXT])'))
@control(here("client.execute(\"select repeat('x', 100000)\")", 'client.execute("select %s", [TEXT])'))
def test_stats_count_bytes_from_clients_and_to_them(database, pooler) -> None:
    """What a client sends is in total_received and not in total_sent, what it gets the other way round."""
    bouncer = pooler(database, pool_mode="transaction")

    def counted() -> Counter[str]:
        row = row_of(bouncer, "stats", database=database.name)
        return Counter({name: int(row[name]) for name in ("total_received", "total_sent")})

    with bouncer.connect(database, prepare_threshold=None) as client:
        before = counted()
        client.execute("select repeat('x', 100000)")
        between = counted()
        client.execute("select length(%s)", [TEXT])
        after = counted()
    got, gave = between - before, after - between
    assert got["total_received"] < len(TEXT) <= got["total_sent"] < 2 * len(TEXT)
    assert gave["total_sent"] < len(TEXT) <= gave["total_received"] < 2 * len(TEXT)


@control(here("counts = ", "busy.connect(database)\n    counts = "))
def test_lists_count_clients_and_databases_the_entry_limits(busy, database) -> None:
    """used_clients counts the console's client too; current_connections counts those of all users together."""
    counts = {row["list"]: row["items"] for row in busy.show("lists")}
    assert counts["used_clients"] == 3
    assert row_of(busy, "databases", name=database.name)["current_connections"] == 1


@control(edit("pgbouncer/console/show.sql", "show pools;", ""))
@control(here("stats_users=database.role.name", "log_stats=0", of="tests.proofs.reference.test_show_columns:busy"))
def test_the_script_shows_every_view(busy, database, load) -> None:
    """It runs in psql, on the console, as it is copied, for a user in stats_users who is no administrator."""
    snippet = load("pgbouncer/console/show.sql")
    evidence.ran(snippet)
    role = f"user={database.role.name} password={database.role.password}"
    result = run_psql(f"host=127.0.0.1 port={busy.port} dbname=pgbouncer {role}", snippet.text)
    assert result.returncode == 0, result.stderr
    for of_one_view in ("cl_waiting", "avg_wait_time", "force_user", "used_clients"):
        assert of_one_view in result.stdout
    assert re.search(r"^ *key +\| +value +\| +default +\| +changeable *$", result.stdout, re.MULTILINE)
    assert result.stdout.count("remote_pid") == 2  # clients, and servers
