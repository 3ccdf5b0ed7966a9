"""Proves docs/reference/poolers.md: what happens behind each pooler. `make record` tries all of it anew."""

import json
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from time import sleep
from typing import Any

import psycopg
import pytest

from proven import ROOT, evidence, whole
from proven.evidence.measurements import FOLDER
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.pooled import CERTIFICATES, certificates
from tests.proofs.reference import trials
from tests.stack import poolers
from tests.stack.database import Database, Role, fresh
from tests.stack.fixtures import note_postgres
from tests.stack.poolers import POOLERS, Odyssey
from tests.stack.wait import DEADLINE, limited, until

FILE = ROOT / FOLDER / "poolers.json"
GROUPS = {"state": trials.STATE, "asks": trials.ASKS, "runs": trials.RUNS}
# What `make test` tries: the others are older PgBouncers, and pgagroal, which sometimes hangs or drops a client.
USUAL = ("newest", "odyssey", "pgpool")
OTHERS = ("odyssey", "pgagroal", "pgpool")  # than PgBouncer


def asked(config: pytest.Config) -> bool:
    """Return whether to try all: in `make record`, `make matrix` and `make prove ONLY=docs/reference/poolers.md`."""
    return bool(config.getoption("only") or config.getoption("record"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try every pooler where everything is tried."""
    if "pooler" in metafunc.fixturenames:
        metafunc.parametrize("pooler", POOLERS if asked(metafunc.config) else USUAL)
    if "which" in metafunc.fixturenames:
        every = asked(metafunc.config) or metafunc.config.getoption("controls")
        metafunc.parametrize("which", [each for each in OTHERS if every or each in USUAL])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder of certificates."""
    with certificates("ours") as (ours,):
        yield ours


@pytest.fixture
def shared(cluster, pooler) -> Iterator[Database]:
    """A database on a server that each pooler can reach."""
    server = poolers.short(cluster(cluster_name="poolers")).server
    note_postgres(server.version())
    try:
        POOLERS[pooler].version()
    except RuntimeError:
        pytest.skip(f"needs {POOLERS[pooler].called}")
    with fresh(server) as made:
        yield made


def record(pooler: str, found: dict[str, dict[str, str]]) -> None:
    """Store what was found, beside what was there before."""
    with whole.alone(FILE.parent):
        before = json.loads(FILE.read_text()) if FILE.exists() else {}
        names = {**before.get("labels", {}), pooler: f"{POOLERS[pooler].name} {POOLERS[pooler].version()}"}
        labels = {each: names[each] for each in POOLERS if each in names}
        labels |= {name: row[0] for group in GROUPS.values() for name, row in group.items()}
        labels |= dict.fromkeys(GROUPS, "You use") | {"runs": "The pooler"}
        tree = {}
        for group, rows in GROUPS.items():
            known = {name: {**before.get(group, {}).get(name, {}), pooler: found[group][name]} for name in rows}
            tree[group] = {name: {each: row[each] for each in POOLERS if each in row} for name, row in known.items()}
        whole.write(FILE, json.dumps({"labels": labels, **tree}, indent=1, ensure_ascii=False) + "\n")


def behind(kind: trials.Kind, database: Database) -> dict[str, dict[str, str]]:
    """Try what becomes of the state that a client leaves, and of each request, behind one pooler."""
    role = Role(database.server)
    database.admin.execute(f"grant {role.name} to {database.role.name}")
    with ExitStack() as ends:
        ends.callback(role.drop, database.admin)
        running = ends.enter_context(trials.running(kind, database))
        clients = [running.connect(database, prepare_threshold=None) for _ in range(3)]
        state = {name: trials.leave(clients, name, role.name) for name in trials.STATE}
        for client in clients:
            client.close()
        return {"state": state, "asks": {name: ask(running, database) for name, (_, ask) in trials.ASKS.items()}}


def patiently(trial: Callable[..., Any], *given: Any) -> Any:
    """Return what a trial finds, at its fourth try at the latest: pgagroal 2.1 sometimes hangs or drops a client."""
    for _ in range(3):
        with suppress(TimeoutError, psycopg.Error), limited("what a trial asks is done", DEADLINE / 4):
            return trial(*given)
    with limited("what a trial asks is done"):
        return trial(*given)


def tried(pooler: str, database: Database, folder: Path, runs: list[str]) -> dict[str, dict[str, str]]:
    """Try everything behind one pooler, and these of its own features."""
    kind = POOLERS[pooler]
    found = {name: patiently(trials.RUNS[name][1], kind, database, folder) for name in runs}
    return {**patiently(behind, kind, database), "runs": found}


# A repeated trial leaves the last attempt's connections to garbage collection.
@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@control(here("tried(pooler,", 'tried("pgpool" if pooler == "newest" else "newest",'))
def test_each_pooler_does_what_the_tables_say(shared, folder, pooler, request: pytest.FixtureRequest) -> None:
    """They say what becomes of the state that a client leaves and of each request, and what the pooler can do."""
    # In `make test`, where time is short, each of the poolers' own features is tried on one of them.
    runs = list(trials.RUNS) if asked(request.config) else list(trials.RUNS)[USUAL.index(pooler) :: len(USUAL)]
    evidence.ran(evidence.load(CERTIFICATES))
    found = tried(pooler, shared, folder, runs)
    if request.config.getoption("record"):
        return record(pooler, found)
    known = json.loads(FILE.read_text())
    if shared.admin.info.server_version < 180000:  # PostgreSQL reports search_path from 18 on
        del found["state"]["path"]
    assert found == {group: {name: known[group][name][pooler] for name in rows} for group, rows in found.items()}
    return None


@control(edit("odyssey/odyssey.conf", 'tls "require"', 'tls "allow"'))
@control(edit("odyssey/odyssey.conf", 'database "upstream"', "database default"))
@control(
    edit(
        "odyssey/odyssey.conf",
        'admin" {\n        authentication "scram-sha-256"',
        'admin" {\n        authentication "none"',
    ),
    fails_with="did not complete authentication",
)
@control(edit("poolers/pgagroal_hba.conf", "hostssl", "host"))
@control(edit("poolers/pgagroal_hba.conf", "# TYPE", "hostssl all all 127.0.0.1/32 scram-sha-256\n# TYPE"))
@control(edit("poolers/pool_hba.conf", "hostssl", "host"))
@control(edit("poolers/pool_hba.conf", "# TYPE", "hostssl all all 127.0.0.1/32 scram-sha-256\n# TYPE"))
def test_each_file_lets_one_role_into_one_database(cluster, folder, which) -> None:
    """It is let in with SCRAM and over TLS; without TLS, in another database or as another role nobody is.

    Odyssey lets its administrator into its console in the same way.
    """
    kind = POOLERS[which]
    try:
        kind.version()
    except RuntimeError:
        pytest.skip(f"needs {kind.called}")
    server = poolers.short(cluster(cluster_name="poolers")).server
    note_postgres(server.version())
    evidence.ran(evidence.load(CERTIFICATES))
    safe = {"sslmode": "verify-full", "sslrootcert": folder / "ca.crt", "require_auth": "scram-sha-256"}
    plain = {"sslmode": "disable"}
    with ExitStack() as ends:
        own, second = (ends.enter_context(fresh(server)) for _ in range(2))
        role = Role(server)
        ends.callback(role.drop, own.admin)
        other = {"user": role.name, "password": role.password}
        elsewhere = {"dbname": second.name}
        for database in (own, second):  # PostgreSQL itself refuses neither
            for login in (other, {"user": own.role.name, "password": own.role.password}):
                database.connect(**login).close()
        started = ends.enter_context(trials.running(kind, own, certificates=folder))
        ends.enter_context(limited("every login was tried"))  # pgagroal 2.1 sometimes hangs
        with started.connect(own, **safe) as client:
            found = client.execute("select current_user::text, current_database()::text").fetchone()
        assert found == (own.role.name, own.name)
        tried = [plain, elsewhere, other, elsewhere | other]
        if isinstance(started, Odyssey):
            admin = {"dbname": "console", "user": "odyssey_admin", "password": started.password}
            with started.connect(own, **safe, **admin, cursor_factory=psycopg.ClientCursor) as console:
                assert console.execute("show databases").fetchall()
            tried += [admin | plain, admin | {"dbname": own.name}, {"dbname": "console"}]
        assert all(heard(started.connect, own, **safe | options) for options in tried)


# Odyssey looks at a pause once a second where a client is idle.
LOOKS = 1.0


def answered(client: psycopg.Connection) -> bool:
    """Return whether there is something to read for a client."""
    return bool(select.select([client.fileno()], [], [], 0)[0])


@control(here('works.execute("begin")', 'works.execute("select 1")'), fails_with="it is answered: not within")
@control(here("sleep(2 * LOOKS)", "pass"))
@control(here('works.execute("commit")', 'works.execute("select 1")'))
@control(here('pgconn.send_query(b"select 2")', 'pgconn.send_query(b"select 2 / 0")'))
def test_in_a_pause_of_odyssey_an_open_transaction_goes_on(database) -> None:
    """Its idle session is there, its next statements are answered, and it commits.

    What an idle client sends waits for RESUME.
    """
    try:
        Odyssey.version()
    except RuntimeError:
        pytest.skip("needs Odyssey")
    with ExitStack() as opened:
        pooler = opened.enter_context(trials.running(Odyssey, database))
        works, idle = (
            opened.enter_context(closing(pooler.connect(database, prepare_threshold=None))) for _ in range(2)
        )
        console = opened.enter_context(closing(pooler.console()))
        idle.execute("select 1")
        works.execute("begin")
        works.execute("select 1")
        console.execute("pause")
        sleep(2 * LOOKS)
        for client in (idle, works):
            client.pgconn.send_query(b"select 2")
            client.pgconn.flush()
        until("it is answered", lambda: answered(works))
        answer = works.pgconn.get_result()
        assert answer is not None
        assert answer.get_value(0, 0) == b"2"
        assert works.pgconn.get_result() is None
        states = "select state from pg_stat_activity where datname = %s and state like 'idle in%%'"
        assert database.admin.execute(states, [database.name]).fetchall() == [("idle in transaction",)]
        with limited("it commits"):
            works.execute("commit")
        assert database.admin.execute(states, [database.name]).fetchall() == []
        assert not answered(idle)
        console.execute("resume")
        until("the other is answered", lambda: answered(idle))
