"""Proves docs/how-to/roll-out-pgbouncer.md: the audit, and one instance behind PgBouncer beside one that is not."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from tests.proofs.pooled import Pooled
from tests.stack import pgbouncer
from tests.stack.database import fresh
from tests.stack.fixtures import note_pgbouncer
from tests.stack.pgbouncer import PgBouncer
from tests.stack.scripts import execute
from tests.stack.upstream import serving
from tests.stack.wait import until

AUDIT = "rollout/audit.py"
THREADS = 6
POOL = 2


@control(edit("rollout/audit.py", "file.relative_to(project)", "file.name"))
@control(edit("rollout/audit.py", "assume_role", "assume-role"), fails_with="not enough values to unpack")
@pytest.mark.parametrize(
    "line",
    [
        "for order in Order.objects.iterator():",
        'cursor.execute("declare c cursor with hold for select 1")',
        'cursor.execute("select pg_advisory_lock(1)")',
        'cursor.execute("select pg_try_advisory_lock(%s)", [1])',
        'cursor.execute("LISTEN orders")',
        'cursor.execute("SET statement_timeout = 5000")',
        'cursor.execute("set search_path to tenant")',
        "cursor.execute(\"select set_config('app.tenant', %s, false)\", [tenant])",
        "cursor.execute('create temporary table t (id int)')",
        'cursor.execute("create temp table t (id int) on commit drop")',
        'cursor.execute("PREPARE find AS select 1")',
        '"OPTIONS": {"options": "-c statement_timeout=5000"},',
        '"OPTIONS": {"assume_role": "app"},',
        '"OPTIONS": {"prepare_threshold": 5},',
    ],
)
def test_the_audit_finds_what_transaction_mode_breaks(load, tmp_path, line) -> None:
    """Each is named once, with its file and its line."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "code.py").write_text(f"first = 1\n{line}\n")
    (found,) = execute(load(AUDIT))["audit"](tmp_path)
    assert found.startswith(f"app/code.py:2: {line}\n")


@control(
    edit(
        "rollout/audit.py",
        "if re.search(pattern, line, re.IGNORECASE):",
        "if not re.search(pattern, line, re.IGNORECASE):",
    )
)
@pytest.mark.parametrize(
    "line",
    [
        'cursor.execute("select pg_advisory_xact_lock(1)")',
        'cursor.execute("SET LOCAL statement_timeout = 5000")',
        "cursor.execute(\"select set_config('app.tenant', %s, true)\", [tenant])",
        'cursor.execute("update orders set customer = 1")',
        "orders = list(Order.objects.all())",
        '"OPTIONS": {"prepare_threshold": None},',
    ],
)
def test_the_audit_leaves_alone_what_is_safe(load, tmp_path, line) -> None:
    """What ends with its transaction is not named."""
    (tmp_path / "code.py").write_text(f"{line}\n")
    assert list(execute(load(AUDIT))["audit"](tmp_path)) == []


@pytest.fixture(scope="module")
def shop(project, server, migrated):
    """Two instances on one database: one goes through PgBouncer, the other does not."""
    note_pgbouncer()
    threads = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": str(THREADS)}
    with fresh(server, template=migrated) as database:
        bouncer = PgBouncer(database, pool_mode="transaction", default_pool_size=POOL)
        try:
            pooled = {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer", "DATABASE_DIRECT_URL": database.url}
            with (
                serving(project, Pooled(database, bouncer), **threads, **pooled) as canary,
                serving(project, database, **threads) as stable,
            ):
                yield database, bouncer, canary, stable
        finally:
            bouncer.stop()


@pytest.fixture
def noted(shop, server_version) -> None:
    """Tell the ledger what the proof ran on."""
    shop[2].note()
    evidence.on(PostgreSQL=server_version, PgBouncer=pgbouncer.version())


def most_sessions(database, gunicorn, enough: int) -> int:
    """Keep every thread busy until there were enough sessions; return the most that PostgreSQL had at a look."""
    seen = [0]

    def asked() -> bool:
        with ThreadPoolExecutor(2 * THREADS) as clients:
            requests = [clients.submit(gunicorn.request, "/orders/report/?seconds=0.03") for _ in range(4 * THREADS)]
            until("all are answered", lambda: seen.append(len(database.backends())) or all(r.done() for r in requests))
        assert {request.result()[0] for request in requests} == {200}
        return max(seen) >= enough

    until("there are enough sessions", asked)
    return max(seen)


@control(edit("postgres/clients.sql", "count(*) as connections", "1 as connections"))
@control(
    here("default_pool_size=POOL", "default_pool_size=THREADS", of="tests.proofs.how_to.test_roll_out_pgbouncer:shop")
)
@pytest.mark.usefixtures("noted")
def test_the_same_requests_need_fewer_sessions_through_pgbouncer(shop, load) -> None:
    """Six threads are six sessions directly, and two through a pool of two."""
    database, _, canary, stable = shop
    assert most_sessions(database, canary, POOL) == POOL
    assert most_sessions(database, stable, THREADS) == POOL + THREADS
    (row,) = [line for line in database.psql(load("postgres/clients.sql")).splitlines() if "upstream" in line]
    assert row.split("|")[2].strip() == str(POOL + THREADS)


@control(edit("upstream/orders/views.py", "Placing(request.POST)", "Placing({})"))
@pytest.mark.usefixtures("noted")
def test_both_kinds_of_instances_serve_the_same_orders(shop) -> None:
    """An order that was placed through PgBouncer is listed by the instance beside it, and the other way round."""
    _, _, canary, stable = shop
    for one, other, customer in ((canary, stable, "Ada"), (stable, canary, "Grace")):
        status, placed = one.request("/orders/", "POST", f"customer={customer}")
        assert status == 201
        assert {"id": placed["id"], "customer": customer} in other.request("/orders/")[1]["orders"]


@control(here("bouncer.leash.halt()", "pass"))
@control(here("serving(project, database", "serving(project, Pooled(database, bouncer)"))
@pytest.mark.usefixtures("noted")
def test_the_old_url_is_the_way_back(shop, project) -> None:
    """Without PgBouncer the instance behind it is not ready; started with the direct DATABASE_URL it is."""
    database, bouncer, canary, stable = shop
    assert canary.request("/health/ready/")[0] == 200
    bouncer.leash.halt()
    try:
        assert canary.request("/health/ready/")[0] == 503
        assert stable.request("/health/ready/")[0] == 200
        same = {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer", "DATABASE_DIRECT_URL": database.url}
        with serving(project, database, GUNICORN_WORKERS="1", **same) as again:
            assert again.request("/health/ready/")[0] == 200
    finally:
        bouncer.restart()


def audited(snippet, project, monkeypatch, capsys) -> tuple[str, int]:
    """Run the audit as a build does; return what it printed, and its exit status."""
    monkeypatch.setattr("sys.argv", ["audit.py", str(project)])
    with pytest.raises(SystemExit) as ended:
        execute(snippet, "__main__")
    assert isinstance(ended.value.code, int)
    return capsys.readouterr().out, ended.value.code


@control(
    edit(
        "rollout/audit.py",
        'r"[\\"\']\\s*set\\s+(?!local\\b|transaction\\b)\\w+": "set local, or alter role",',
        'r"[\\"\']\\s*set\\s+(?!local\\b|transaction\\b)\\w+": "set local, and alter role",',
    )
)
def test_the_audit_finds_what_the_example_project_does_past_pgbouncer(
    load, tmp_path, monkeypatch, capsys, transcript
) -> None:
    """What the pool doctor notes, its advisory locks and its LISTEN, all past PgBouncer, and nothing else."""
    snippets.export(tmp_path, below="upstream")
    output, _ = audited(load(AUDIT), tmp_path, monkeypatch, capsys)
    assert {line.partition(":")[0] for line in output.splitlines() if line.startswith("orders/")} == {
        "orders/locks.py",
        "orders/management/commands/follow_orders.py",
        "orders/management/commands/pool_doctor.py",
    }
    transcript(load(AUDIT), output)


@control(edit("rollout/audit.py", "if SKIPPED & set(file.parts):", "if not SKIPPED & set(file.parts):"))
@pytest.mark.parametrize(("line", "status", "said"), [("x.iterator()", 1, "1 lines"), ("x = 1", 0, "0 lines")])
def test_the_audit_can_stop_a_build(load, tmp_path, monkeypatch, capsys, line, status, said) -> None:
    """Its exit status is 1 where it found something, and 0 where not."""
    (tmp_path / "code.py").write_text(f"{line}\n")
    output, code = audited(load(AUDIT), tmp_path, monkeypatch, capsys)
    assert code == status
    assert output.endswith(f"{said} to look at\n")
