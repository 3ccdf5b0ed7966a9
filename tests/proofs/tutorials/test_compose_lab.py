"""Proves docs/tutorials/compose-lab.md: its commands, in its order, on a Docker engine.

One walk through the lab serves all proofs of this module: each looks at what the walk saw.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import pytest

from proven import evidence
from proven.sources.controls import control, each, edit, here
from proven.sources.snippets import Snippet, folder_of, read
from tests.lint import compose, containers
from tests.lint.findings import refuse
from tests.proofs.pooled import settings_of
from tests.stack.docker import Lab, engine, left
from tests.stack.wait import DEADLINE, until

# What the engine reads, and what the servers in the containers read.
PROJECT = (
    "upstream/compose.yaml",
    "upstream/Dockerfile",
    "upstream/.dockerignore",
    "pgbouncer/Dockerfile",
    "pgbouncer/.dockerignore",
    "pgbouncer/pgbouncer.ini",
    "pgbouncer/container.ini",
    "pgbouncer/roles.sql",
    "upstream/compose/roles.sh",
    "upstream/compose/secrets.sh",
)
CROWD = 120
POOL_SIZE = 20
RESERVED = "roles with the SUPERUSER attribute"
REQUESTS = 8  # at a time, as many as Gunicorn has threads
# What varies in the output of docker compose.
UP = [(r"Up .* \(healthy\)", "Up N seconds (healthy)")]
THROUGH = [
    (r"\d+(\.\d+){3}", "ADDRESS"),
    (r'"(process|thread|backend)": \d+', r'"\1": N'),
    (r"backend \d+", "backend N"),
]
COUNTS = [(r"^ *\d+ ×", "N ×")]
ERRORS = (r"^ *\d+ × (?!answered$).*\n", "")  # how many get which of the two is a matter of milliseconds
POOL = [(r"\|\d+", "|N")]


@dataclass
class Walk:
    """What was seen on the way through the lab: what each script printed, and what the engine answered."""

    said: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    heard: Counter[str] = field(default_factory=Counter)  # by the requests during the rolling restart


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Go through the lab once, in the order of the page."""
    try:
        engine()
    except RuntimeError as error:
        pytest.skip(str(error))
    lab = Lab(tmp_path_factory.mktemp("compose"))
    try:
        yield walked(lab)
    finally:
        lab.stop()


def walked(lab: Lab) -> Walk:
    """Bring the lab up, look at it, break it, repair it, restart its pooler and take it down."""
    walk = Walk()

    def run(name: str, *arguments: str, case: str = "") -> str:
        walk.said[case or name] = lab.run(read(f"upstream/compose/{name}.sh"), *arguments)
        return walk.said[case or name]

    run("up")
    walk.seen["containers"] = lab.containers()
    walk.seen["image"] = lab.compose("exec", "-T", "web", "ls", "-A").split()
    walk.seen["migrate"] = lab.compose("logs", "--no-log-prefix", "migrate")
    walk.seen["methods"] = superuser(lab, "select distinct auth_method from pg_hba_file_rules")
    walk.seen["passwords"] = superuser(lab, "select distinct left(rolpassword, 14) from pg_authid").split()
    walk.seen["versions"] = versions(lab)
    walk.seen["secrets"] = [
        file.read_text() for file in (lab.folder / "secrets").iterdir() if not file.name.endswith(".txt")
    ]
    walk.seen["live"], walk.seen["ready"] = (get(lab, f"/health/{name}/") for name in ("live", "ready"))
    run("through")
    run("pools")
    walk.seen["config"] = run("console", "show config")
    crowded(run)
    frozen(lab, walk)
    killed(lab, run)
    rolled(lab, run, walk)
    run("down")
    walk.seen["left"] = left(lab.name)
    walk.seen["folder"] = {file.name for file in lab.folder.iterdir()}
    return walk


def crowded(run: Callable[..., str]) -> None:
    """Send the crowd past PgBouncer and through it, with a look at the pool meanwhile."""
    run("crowd", "DATABASE_DIRECT_URL", case="past")
    with ThreadPoolExecutor(1) as aside:
        crowd = aside.submit(run, "crowd", "DATABASE_URL", case="pooled")

        def full() -> bool:
            pools = run("pools", case="crowded")
            return column(pools, "sv_active") == POOL_SIZE and column(pools, "cl_waiting") > 1

        until("the crowd waits", lambda: full() or crowd.done())


def frozen(lab: Lab, walk: Walk) -> None:
    """Suspend PgBouncer, run both health checks, and let it go on."""
    lab.compose("kill", "--signal=STOP", "pgbouncer")
    with ThreadPoolExecutor(2) as checks:
        walk.seen["frozen"] = dict(zip(("pgbouncer", "web"), checks.map(lab.check, ("pgbouncer", "web")), strict=True))
    lab.compose("kill", "--signal=CONT", "pgbouncer")
    until("requests are answered", lambda: get(lab, "/health/ready/") == 200)
    walk.seen["thawed"] = {name: lab.check(name) for name in ("pgbouncer", "web")}


def killed(lab: Lab, run: Callable[..., str]) -> None:
    """Kill PgBouncer, ask for its status, and start it again."""
    lab.compose("kill", "pgbouncer")
    run("status")
    run("up", case="started")


def rolled(lab: Lab, run: Callable[..., str], walk: Walk) -> None:
    """Change a setting, and replace PgBouncer while requests go on."""
    ini = lab.folder.parent / "pgbouncer" / "pgbouncer.ini"
    ini.write_text(ini.read_text().replace(f"default_pool_size = {POOL_SIZE}", "default_pool_size = 10"))
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            walk.heard[str(get(lab, "/orders/report/?seconds=0.02"))] += 1

    threads = [threading.Thread(target=ask) for _ in range(REQUESTS)]
    for thread in threads:
        thread.start()
    try:
        until("requests are answered", lambda: walk.heard["200"] > 20)
        run("roll")
        after = walk.heard["200"]
        until("requests go on", lambda: walk.heard["200"] > after + 20)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    walk.seen["rolled"] = run("console", "show config", case="rolled")
    # Another `up` finds what is there, and has nothing to replace.
    before = lab.containers()["pgbouncer"]["Id"]
    run("up", case="again")
    walk.seen["same"] = lab.containers()["pgbouncer"]["Id"] == before


def get(lab: Lab, path: str) -> int | str:
    """Return the status of a request to the published port, or the error that it ended with."""
    connection = HTTPConnection("127.0.0.1", lab.port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError as error:
        return repr(error)
    finally:
        connection.close()


def superuser(lab: Lab, query: str) -> str:
    """Return what PostgreSQL answers its superuser in the container."""
    psql = "PGPASSWORD=$(cat /run/secrets/postgres_password) psql --username=postgres --tuples-only --csv"
    return lab.compose("exec", "-T", "postgres", "sh", "-c", f'{psql} --command="{query}"')


def versions(lab: Lab) -> dict[str, str]:
    """Return the versions of what runs."""
    names = ("Django", "Gunicorn", "psycopg", "Python")
    modules = "django.__version__, gunicorn.__version__, psycopg.__version__, platform.python_version()"
    asked = f"import django, gunicorn, platform, psycopg; print({modules})"
    return {
        "PostgreSQL": superuser(lab, "show server_version").split()[0],
        "PgBouncer": lab.compose("exec", "-T", "pgbouncer", "/usr/sbin/pgbouncer", "--version").split()[1],
        **dict(zip(names, lab.compose("exec", "-T", "web", "python", "-c", asked).split(), strict=True)),
        **engine(),
    }


def column(pools: str, name: str, user: str = "upstream") -> int:
    """Return a number that pools.sh prints for the application's pool."""
    head, *rows = [line.split("|") for line in pools.splitlines()]
    return next((int(row[head.index(name)]) for row in rows if row[1] == user), 0)


def setting(config: str, name: str) -> str:
    """Return a value from the console's output of SHOW CONFIG."""
    return {row[0]: row[1] for row in (line.split("|") for line in config.splitlines())}[name]


def heard(crowd: str) -> dict[str, int]:
    """Return how often the crowd got each answer."""
    return {text: int(times) for times, text in re.findall(r"(\d+) × (.+)", crowd)}


@pytest.fixture
def lab(walk, load) -> Walk:
    """What the walk saw, for a proof that looks at the whole project."""
    for path in PROJECT:
        evidence.ran(load(path), "ran" if path.endswith((".sh", ".sql")) else "started")
    evidence.on(**walk.seen["versions"])
    return walk


def ran(load: Callable[[str], Snippet], path: str) -> Snippet:
    """Return a script that the walk has run, and record that."""
    snippet = load(path)
    evidence.ran(snippet)
    return snippet


# ---- without an engine -----------------------------------------------------------------------------------------


@control(
    each(
        "upstream/compose.yaml",
        {
            "services.*.stop_grace_period": "3s",
            "*.net.ipv4.tcp_syn_retries": "6",
            "*.DB_CONN_MAX_AGE": '"60"',
            "services.web.healthcheck.test.3": ">-\n          pass",
        },
        but={
            "it is yours to choose": ["name", "services.postgres.shm_size"],
            "how patiently it asks is yours to choose": ["x-patience.*"],
            "how much each may take is yours to choose": ["services.*.limits.*"],
            "another release takes the same": ["services.postgres.image"],
            "it is as long as your checkpoints are": ["services.postgres.stop_grace_period"],
            "a proof on an engine holds it": ["*.POSTGRES_INITDB_ARGS"],
        },
    )
)
@control(each("pgbouncer/container.ini", {"*.pool_size": "50"}), fails_with="No such file")
@control(
    each(
        "pgbouncer/pgbouncer.ini",
        {
            "*.pool_size": "50",
            "*max_prepared_statements": "0",
            "*default_pool_size": "40",
            "*max_db_connections": "3",
            "*max_client_conn": "3",
            "*query_wait_timeout": "0",
            "*idle_transaction_timeout": "0",
            "*server_login_retry": "15",
        },
    )
)
@control(edit("pgbouncer/container.ini", "host=postgres port", "host=postgresql port"))
def test_the_files_of_the_project_agree_with_each_other(load) -> None:
    """Each host, port, user, database, secret and limit that one file names is the one that another defines."""
    for path in PROJECT:
        evidence.ran(load(path), "checked", against=f"the project's other files, {len(PROJECT)} in all")
    file = folder_of() / "upstream" / "compose.yaml"
    refuse([*compose.problems(file, folder_of().parent), *containers.problems(file, folder_of().parent)])


@control(here('"", "[pgbouncer]\\n"', '"", ""'))
def test_a_section_that_begins_again_forgets_what_was_before(database, pooler) -> None:
    """Where [pgbouncer] begins, PgBouncer resets every default: what an earlier section of this name set is lost.

    A setting that has no default, such as auth_user, is kept.
    """
    bouncer = pooler(database)
    found = []
    for again in ("", "[pgbouncer]\n"):
        text = "[pgbouncer]\ndefault_pool_size = 3\nauth_user = somebody\n"
        text += f"{again}%include {bouncer.leash.folder}/settings.ini\n"
        bouncer.leash.write("pgbouncer.ini", text)
        bouncer.reload()
        config = {row["key"]: row["value"] for row in bouncer.show("config")}
        found.append((config["default_pool_size"], config["auth_user"]))
    assert found == [("3", "somebody"), ("20", "somebody")]


@control(here('f"{name}_FILE"', 'f"{name}_FILES"'))
def test_a_password_may_be_in_a_file(project, tmp_path) -> None:
    """So may that of the direct URL, and the secret key: each has a variable of its own that names the file."""
    names = ("DJANGO_SECRET_KEY", "DATABASE_PASSWORD", "DATABASE_DIRECT_PASSWORD")
    for name in names:
        (tmp_path / name).write_text(f"{name} in a file\n")
    files = {f"{name}_FILE": str(tmp_path / name) for name in names}
    code = """
from django.conf import settings
print(settings.SECRET_KEY.strip(), *(each["PASSWORD"] for each in settings.DATABASES.values()), sep="|")
"""
    url = "postgresql://upstream@127.0.0.1:6432/upstream"
    urls = {"DATABASE_DIRECT_URL": url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    said = project.run("-c", code, database_url=url, **urls, **files)
    assert said == (0, "|".join(f"{name} in a file" for name in names) + "\n")


# ---- bring it up -----------------------------------------------------------------------------------------------


@control(edit("upstream/compose/up.sh", "'{{.Service}}: {{.Status}}'", "'{{.Service}}'"))
def test_the_project_comes_up_healthy(lab, load, transcript) -> None:
    """`docker compose up --wait` returns once PostgreSQL, PgBouncer and the application are healthy."""
    states = {name: container["State"] for name, container in lab.seen["containers"].items()}
    healthy = {name for name, state in states.items() if state.get("Health", {}).get("Status") == "healthy"}
    assert healthy == {"postgres", "pgbouncer", "web"}
    assert (lab.seen["live"], lab.seen["ready"]) == (200, 200)
    ran(load, "upstream/compose/secrets.sh")
    transcript(ran(load, "upstream/compose/up.sh"), lab.said["up"], UP)


@control(
    edit("upstream/compose.yaml", "      migrate:\n        condition: service_completed_successfully\n", ""),
    # Without the delay they start together, and the tables may exist in time.
    edit(
        "upstream/compose.yaml",
        "[python, manage.py, migrate,",
        "[sh, -c, 'sleep 30; $$0 $$*', python, manage.py, migrate,",
    ),
)
def test_the_tables_are_made_before_the_application_starts(lab) -> None:
    """They are created by a container that exits before the application's container starts."""
    migrate, web = (lab.seen["containers"][name] for name in ("migrate", "web"))
    assert "Applying orders.0001_initial... OK" in lab.seen["migrate"]
    assert migrate["State"]["Status"] == "exited"
    assert migrate["State"]["FinishedAt"] < web["State"]["StartedAt"]


@control(edit("upstream/compose.yaml", "--auth=scram-sha-256", "--auth-local=trust --auth-host=scram-sha-256"))
def test_every_login_is_scram(lab) -> None:
    """PostgreSQL, even within its container, and PgBouncer allow no other method; all passwords are SCRAM secrets."""
    assert lab.seen["methods"] == "scram-sha-256"
    assert lab.seen["passwords"] == ["SCRAM-SHA-256$"]
    assert setting(lab.seen["config"], "auth_type") == "scram-sha-256"


@control(edit("upstream/.dockerignore", "!wsgi.py", "!wsgi.py\n!compose.yaml"))
def test_no_password_is_in_what_the_engine_knows(lab) -> None:
    """A secret is a file that is mounted: no environment, no command and no image holds one."""
    for name, container in lab.seen["containers"].items():
        told = str(container["Config"])
        assert not [secret for secret in lab.seen["secrets"] if secret in told], name
    assert {len(secret) for secret in lab.seen["secrets"]} == {48}
    sources = {"gunicorn.conf.py", "manage.py", "orders", "requirements.txt", "settings", "urls.py", "wsgi.py"}
    assert set(lab.seen["image"]) == sources


@control(edit("upstream/compose.yaml", "read_only: true", "read_only: false"))
def test_no_container_has_a_root_or_writes_to_its_image(lab) -> None:
    """Each has an unprivileged user, no capabilities, a read-only file system, and memory, CPU and process limits."""
    for name, container in lab.seen["containers"].items():
        host = container["HostConfig"]
        assert container["Config"]["User"] in ("postgres", "10001:10001"), name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert all((host["Memory"], host["NanoCpus"], host["PidsLimit"])), name


@control(edit("pgbouncer/pgbouncer.ini", "max_client_conn = 500", "max_client_conn = 0500"))
def test_the_pooler_has_the_settings_of_both_files(lab, load) -> None:
    """Those of container.ini, and every other one of pgbouncer.ini."""
    ini, container = (settings_of(load(path).text) for path in ("pgbouncer/pgbouncer.ini", "pgbouncer/container.ini"))
    ran(load, "upstream/compose/console.sh")
    expected = {name: value for name, value in (ini | container).items() if not name.startswith("upstream")}
    assert len(expected) > 10
    assert {name: setting(lab.seen["config"], name) for name in expected} == expected


# ---- a request, and what the pool does ---------------------------------------------------------------------------


@control(edit("upstream/compose.yaml", "upstream@pgbouncer:6432", "upstream@postgres:5432"))
def test_a_request_goes_through_pgbouncer(lab, load, transcript) -> None:
    """The backend that served it is connected to PgBouncer's address, and not to the application's."""
    said = lab.said["through"]
    backend, address = re.search(r"backend (\d+) serves (\S+)", said).groups()
    assert f'"backend": {backend}' in said
    assert f"{address} is pgbouncer" in said
    assert f"{address} is web" not in said
    transcript(ran(load, "upstream/compose/through.sh"), said, THROUGH)


@control(edit("upstream/compose/pools.sh", "1-4,7,10,14", "1-4,7,10"))
def test_show_pools_tells_who_waits(lab, load, transcript) -> None:
    """No client waits while a few requests come in."""
    assert column(lab.said["pools"], "cl_waiting") == 0
    transcript(ran(load, "upstream/compose/pools.sh"), lab.said["pools"], POOL)


# ---- break it, and repair it -------------------------------------------------------------------------------------


@control(edit("upstream/compose/crowd.py", 'heard["answered"] += 1', 'heard["answered"] += 2'))
def test_a_crowd_past_pgbouncer_finds_postgresql_full(lab, load, transcript) -> None:
    """Clients that find a slot are answered, and the others are told that there is none."""
    counts = heard(lab.said["past"])
    full = {"sorry, too many clients already", f"remaining connection slots are reserved for {RESERVED}"}
    assert set(counts) - {"answered"} <= full
    assert 0 < counts["answered"] < CROWD == sum(counts.values())
    ran(load, "upstream/compose/crowd.py")
    transcript(ran(load, "upstream/compose/crowd.sh"), lab.said["past"], [ERRORS, *COUNTS], case="past-PgBouncer")


@control(edit("upstream/compose/crowd.py", 'heard["answered"] += 1', 'heard["answered"] += 2'))
def test_the_same_crowd_is_answered_through_pgbouncer(lab, load, transcript) -> None:
    """Every client is answered, and waits its turn while all connections of the pool are in use."""
    assert heard(lab.said["pooled"]) == {"answered": CROWD}
    assert setting(lab.seen["config"], "default_pool_size") == str(POOL_SIZE)
    assert column(lab.said["crowded"], "sv_active") == POOL_SIZE
    assert column(lab.said["crowded"], "cl_waiting") > 1
    ran(load, "upstream/compose/crowd.py")
    transcript(ran(load, "upstream/compose/crowd.sh"), lab.said["pooled"], COUNTS, case="through-PgBouncer")
    transcript(ran(load, "upstream/compose/pools.sh"), lab.said["crowded"], POOL, case="meanwhile")


@control(
    edit(
        "upstream/compose.yaml",
        "[CMD, pg_isready, --host=127.0.0.1, --port=6432, --username=upstream]",
        "[CMD, pg_isready, --version]",
    )
)
def test_both_health_checks_fail_while_pgbouncer_does_not_answer(lab) -> None:
    """PgBouncer's own and the application's fail, though its port accepts connections; both pass afterwards."""
    assert lab.seen["frozen"] == {"pgbouncer": 1, "web": 1}
    assert lab.seen["thawed"] == {"pgbouncer": 0, "web": 0}


@control(edit("upstream/compose/status.sh", "--all --format", "--format"))
def test_a_killed_pooler_says_how_it_ended_and_is_started_again(lab, load) -> None:
    """Its status shows the signal, its log is still there, and `up` brings it back."""
    said = lab.said["status"]
    ran(load, "upstream/compose/status.sh")
    assert "pgbouncer: Exited (137)" in said
    assert " LOG " in said
    assert "pgbouncer: Up" in lab.said["started"]


# ---- replace the pooler, and take everything down ----------------------------------------------------------------


@control(edit("upstream/compose/roll.sh", "docker stop", "docker kill"))
def test_pgbouncer_is_replaced_without_a_failed_request(lab, load, transcript) -> None:
    """Eight requests at a time go on meanwhile. The old one exits by itself, with status 0, when all have left it."""
    assert set(lab.heard) == {"200"}
    assert "it ended with status 0" in lab.said["roll"]
    transcript(ran(load, "upstream/compose/roll.sh"), lab.said["roll"])


@control(edit("upstream/compose/roll.sh", "docker compose build --quiet pgbouncer > /dev/null", "true"))
def test_the_new_pgbouncer_has_what_was_changed(lab) -> None:
    """The edited setting is in effect, and the next `up` leaves the new one alone."""
    before, after = (setting(lab.seen[name], "default_pool_size") for name in ("config", "rolled"))
    assert (before, after) == (str(POOL_SIZE), "10")
    assert lab.seen["same"]


@control(edit("upstream/compose/down.sh", "rm -r secrets", "true"))
def test_nothing_is_left_of_the_project(lab, load) -> None:
    """No container, volume, network or image is left, and no folder with secrets."""
    ran(load, "upstream/compose/down.sh")
    assert lab.seen["left"] == {}
    assert "secrets" not in lab.seen["folder"]
    assert "compose.yaml" in lab.seen["folder"]
