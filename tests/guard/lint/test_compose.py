"""Files of the Compose project that contradict each other are refused, with the line and the reason."""

import re
import shutil
from pathlib import Path

import pytest

from proven import ROOT
from proven.sources import snippets
from tests.lint import compose

# What is changed: the file, a text in it, what stands there instead; then what is said, at that line of that file.
COMPOSE = "upstream/compose.yaml"
INI = "pgbouncer/container.ini"
# The images at whatever version they are.
POSTGRES, PYTHON = (
    re.findall(rf"{name}:\S+", (ROOT / snippets.FOLDER / file).read_text())[0]
    for name, file in (("postgres", COMPOSE), ("python", "upstream/Dockerfile"))
)
MUTATIONS = {
    "a wrong port in a URL": (
        COMPOSE,
        "@pgbouncer:6432/",
        "@pgbouncer:5432/",
        "pgbouncer listens on 6432, not on 5432",
    ),
    "a wrong port in the ini": (INI, "port=5432", "port=6432", "upstream: postgres listens on 5432, not on 6432"),
    "a wrong port to listen on": (
        "pgbouncer/pgbouncer.ini",
        "listen_port = 6432",
        "listen_port = 6433",
        "DATABASE_URL: pgbouncer listens on 6433, not on 6432",
    ),
    "a wrong port that is published": (
        COMPOSE,
        "-8000}:8000",
        "-8000}:8080",
        "ports: web listens on 8000, not on 8080",
    ),
    "a wrong port in a health check": (COMPOSE, "--port=6432", "--port=6433", "healthcheck: pgbouncer listens on 6432"),
    "a wrong port in a script": (
        "upstream/compose/console.sh",
        "--port=6432",
        "--port=5432",
        "PgBouncer listens on 6432, not on 5432",
    ),
    "a host that no service has": (COMPOSE, "@pgbouncer:", "@pgbounce:", "no service is called pgbounce; did you mean"),
    "a host in the ini that no service has": (INI, "host=postgres port", "host=db port", "no service is called db"),
    "loopback in the ini": (INI, "host=postgres port", "host=127.0.0.1 port", "no service is called 127.0.0.1"),
    "a user who is not made": (COMPOSE, "//upstream_owner@", "//owner@", "roles.sql makes no user owner"),
    "a user whom PgBouncer does not know": (
        COMPOSE,
        "//upstream@pgbouncer",
        "//upstream_owner@pgbouncer",
        "pgbouncer knows no user upstream_owner",
    ),
    "a user in a script": ("upstream/compose/console.sh", "=pgbouncer_stats", "=stats", "nobody is called stats"),
    "a database that is not made": (COMPOSE, "@postgres:5432/upstream", "@postgres:5432/orders", "no database orders"),
    "a database that PgBouncer does not have": (
        COMPOSE,
        "6432/upstream",
        "6432/orders",
        "pgbouncer has no database orders",
    ),
    "a secret that is not made": (
        COMPOSE,
        "secrets/userlist.txt",
        "secrets/users.txt",
        "secrets.sh makes no users.txt",
    ),
    "a secret that is not declared": (COMPOSE, "source: userlist", "source: users", "no secret is called users"),
    "a secret that is not given": (
        COMPOSE,
        "secrets: [django_secret_key, upstream_password]",
        "secrets: [django_secret_key]",
        "DATABASE_PASSWORD_FILE: web is not given upstream_password",
    ),
    "a secret that the script does not find": (
        COMPOSE,
        "      - console_stats_password\n",
        "",
        "roles.sh: postgres is not given console_stats_password",
    ),
    "a userlist that is not mounted": (
        INI,
        "/run/secrets/userlist.txt",
        "/etc/userlist.txt",
        "is given no /etc/userlist",
    ),
    "a password in a URL": (COMPOSE, "//upstream@pgb", "//upstream:secret@pgb", "no place for a password"),
    "latest": (COMPOSE, POSTGRES, "postgres:latest", "postgres:latest: name an exact version"),
    "no tag": (COMPOSE, POSTGRES, "postgres", "postgres: name an exact version"),
    "latest in a Dockerfile": (
        "upstream/Dockerfile",
        PYTHON,
        "python:latest",
        "python:latest: name an exact version",
    ),
    "an image of somebody's": (
        COMPOSE,
        POSTGRES,
        f"someone/{POSTGRES}",
        "someone/postgres: not an official image",
    ),
    "no health check to wait for": (
        COMPOSE,
        "condition: service_healthy",
        "condition: service_started",
        "not when it answers",
    ),
    "another authentication": (
        INI,
        "auth_file = ",
        "auth_type = md5\nauth_file = ",
        "auth_type: scram-sha-256, as PostgreSQL has it",
    ),
    "a section that begins again": (INI, "listen_addr = *", "[pgbouncer]\nlisten_addr = *", "auth_type: scram-sha-256"),
    "nobody is listened to": (INI, "listen_addr = *", "listen_addr = 127.0.0.1", "nobody outside of its container"),
    "a pool that does not fit twice": (
        INI,
        "listen_addr = *",
        "max_db_connections = 60\nlisten_addr = *",
        "may open 120; PostgreSQL has 97 slots",
    ),
    "too few clients": (
        INI,
        "listen_addr = *",
        "max_client_conn = 10\nlisten_addr = *",
        "8 threads, twice at a deploy",
    ),
    "connections that outlast the pooler": (
        COMPOSE,
        'DB_CONN_MAX_AGE: "5"',
        'DB_CONN_MAX_AGE: "60"',
        "kept connections last for 60 s, and pgbouncer is killed 30 s after SIGTERM",
    ),
    "requests that outlast the application": (
        COMPOSE,
        "stop_grace_period: 35s",
        "stop_grace_period: 10s",
        "web is killed after 10 s, and Gunicorn gives requests 30 s",
    ),
}
# A compose file as guides have it, and the pgbouncer.ini that it mounts.
FROM_A_GUIDE = """\
version: '3.8'

services:
  pgbouncer:
    image: pgbouncer/pgbouncer:latest
    environment:
      DATABASES_HOST: cloudsql-proxy
      DATABASES_PORT: 5432
      DATABASES_DBNAME: upstream
      PGBOUNCER_POOL_MODE: transaction
      PGBOUNCER_DEFAULT_POOL_SIZE: 25
      PGBOUNCER_MAX_CLIENT_CONN: 100
    ports:
      - "6432:5432"
    volumes:
      - ./pgbouncer.ini:/etc/pgbouncer/pgbouncer.ini
      - ./userlist.txt:/etc/pgbouncer/userlist.txt

  app:
    build: .
    environment:
      DATABASE_URL: postgresql://user:pass@pgbouncer:6432/upstream
    depends_on:
      - pgbouncer
"""
INI_FROM_A_GUIDE = """\
[databases]
upstream = host=cloudsql-proxy port=5432 dbname=upstream

[pgbouncer]
pool_mode = transaction
default_pool_size = 25
reserve_pool_size = 5
max_client_conn = 100
max_db_connections = 30
auth_type = md5
auth_file = /etc/pgbouncer/userlist.txt
log_connections = 1
"""
WRONG_WITH_IT = """\
compose.yaml:1: version: Compose ignores it, and says so
compose.yaml:5: pgbouncer/pgbouncer: not an official image, so who knows what it reads: build your own
compose.yaml:5: pgbouncer/pgbouncer:latest: name an exact version, as this is another image tomorrow
compose.yaml:24: app starts when pgbouncer has started, not when it answers
compose.yaml:7: DATABASES_HOST: no service is called cloudsql-proxy
compose.yaml:22: DATABASE_URL: a file that people copy is no place for a password
compose.yaml:22: DATABASE_URL: pgbouncer knows no user user
compose.yaml:22: DATABASE_URL: roles.sql makes no user user
pgbouncer.ini:1: listen_addr: nobody outside of its container reaches it: *
pgbouncer.ini:10: auth_type: scram-sha-256, as PostgreSQL has it
pgbouncer.ini:2: upstream: no service is called cloudsql-proxy
compose.yaml:14: ports: pgbouncer listens on 6432, not on 5432
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, as it is."""
    for folder in ("pgbouncer", "upstream"):
        shutil.copytree(ROOT / snippets.FOLDER / folder, tmp_path / folder)
    return tmp_path


@pytest.mark.parametrize("case", MUTATIONS)
def test_a_contradiction_is_refused(project: Path, case: str) -> None:
    """Whichever of two files was changed, the message names what contradicts what."""
    name, old, new, message = MUTATIONS[case]
    file = project / name
    assert old in file.read_text(), f"{name} has no {old!r} any more: change this mutation"
    file.write_text(file.read_text().replace(old, new, 1))
    found = compose.problems(project / COMPOSE, project)
    assert [problem for problem in found if message in problem.message], [str(problem) for problem in found]


def test_the_project_as_it_is_has_no_contradiction(project: Path) -> None:
    """So that what is refused above is refused for what was changed."""
    assert compose.problems(project / COMPOSE, project) == []


def test_a_problem_is_at_its_line(project: Path) -> None:
    """Of the file that says so."""
    file = project / INI
    file.write_text(file.read_text().replace("host=postgres port", "host=db port"))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), start=1) if "host=db" in text)
    (problem,) = compose.problems(project / COMPOSE, project)
    assert str(problem) == f"{INI}:{line}: upstream: no service is called db"


def test_a_compose_file_from_a_guide_is_refused(tmp_path: Path) -> None:
    """For each of its mistakes: what its ini says does not come to its rescue."""
    (tmp_path / "compose.yaml").write_text(FROM_A_GUIDE)
    (tmp_path / "pgbouncer.ini").write_text(INI_FROM_A_GUIDE)
    (tmp_path / "userlist.txt").write_text("")
    found = compose.problems(tmp_path / "compose.yaml", tmp_path)
    assert [str(problem) for problem in found] == WRONG_WITH_IT.splitlines()
