"""Proves docs/reference/example-project.md: the folder as a reader copies it, started by its own script."""

import http.client
import os
import re
import secrets
import socket
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, edit
from tests.stack.database import Database, fresh
from tests.stack.leash import Leash
from tests.stack.upstream import serving
from tests.stack.wait import DEADLINE


@control(edit("upstream/.env.example", "DJANGO_ALLOWED_HOSTS=localhost,127.0.0.1", ""))
def test_the_folder_starts_as_it_was_copied(database: Database, tmp_path: Path) -> None:
    """Copied, with .env filled in and nothing else in the environment, start.sh creates the tables and serves."""
    copied = {snippet.path: snippet for snippet in snippets.export(tmp_path, below="upstream")}
    filled = copied["upstream/.env.example"].text.replace(
        "DJANGO_SECRET_KEY=", f"DJANGO_SECRET_KEY={secrets.token_hex(32)}"
    )
    (tmp_path / ".env").write_text(
        re.sub(r"^DATABASE_URL=.*$", f"DATABASE_URL={database.url}", filled, flags=re.MULTILINE)
    )
    leash = Leash("upstream")

    def start(port: int) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # One worker, as starting one takes the longest; and no control socket, as there is no home directory.
        options = {"GUNICORN_WORKERS": "1", "GUNICORN_CMD_ARGS": "--no-control-socket"}
        environment = {"PATH": path, "GUNICORN_BIND": f"127.0.0.1:{port}", **options}
        leash.run(["sh", str(tmp_path / "start.sh")], env=environment)

    port = leash.serve("start.sh", start, answers)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        connection.request("GET", "/orders/")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"orders": []}')
        connection.close()
    finally:
        leash.stop()
    evidence.on(Django=version("django"), Gunicorn=version("gunicorn"))
    evidence.ran(copied["upstream/start.sh"])
    evidence.ran(copied["upstream/.env.example"])


def answers(port: int) -> bool:
    """Return whether something serves on a port."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def served(project, server, migrated):
    """The project on a database of its own, with one worker and a payment service that is down."""
    settings = {"GUNICORN_WORKERS": "1", "PAYMENTS_HOST": "127.0.0.1:1"}
    with fresh(server, template=migrated) as database, serving(project, database, **settings) as gunicorn:
        yield gunicorn


@control(edit("upstream/orders/inputs.py", "min_value=0, ", ""), fails_with="KeyError: 'errors'")
@pytest.mark.parametrize(
    ("path", "method", "body", "field"),
    [
        ("/orders/report/?seconds=abc", "GET", None, "seconds"),
        ("/orders/report/?seconds=nan", "GET", None, "seconds"),
        ("/orders/report/?seconds=11", "GET", None, "seconds"),
        ("/orders/report/?seconds=-1", "GET", None, "seconds"),
        ("/orders/busiest/?first=1.5", "GET", None, "first"),
        ("/orders/busiest/?first=9223372036854775808", "GET", None, "first"),
        ("/orders/", "POST", "customer=" + 101 * "a", "customer"),
        ("/orders/", "POST", "customer=A%00da", "customer"),
    ],
)
def test_wrong_input_is_refused_with_its_field(served, server_version, path, method, body, field) -> None:
    """An invalid or too large number, and a name that is too long or contains a NUL, get a 400 with the field."""
    status, answer = served.request(path, method, body)
    assert (status, [*answer["errors"]]) == (400, [field])
    served.note()
    evidence.on(PostgreSQL=server_version)


@control(edit("upstream/orders/views.py", '"process": os.getpid()', '"process": os.getppid()'))
@control(edit("upstream/orders/views.py", "threading.get_native_id()", "threading.get_ident()"))
@control(edit("upstream/orders/views.py", "threading.get_native_id()", "os.getpid()"))
@control(edit("upstream/orders/views.py", "select pg_backend_pid()", "select -pg_backend_pid()"))
def test_it_says_who_served_a_request(served, server_version) -> None:
    """/connection/ names a process, the thread of this process that serves, and the backend that was queried."""
    said = served.request("/connection/")[1]
    serving = {thread.id for thread in psutil.Process(said["process"]).threads()} - {said["process"]}
    assert said["thread"] in serving  # the main thread, whose ID is the process's own, serves nothing
    asked = "select pid from pg_stat_activity where query = 'select pg_backend_pid()'"
    assert (said["backend"],) in served.database.admin.execute(asked).fetchall()
    served.note()
    evidence.on(PostgreSQL=server_version)


@control(edit("upstream/settings/base.py", '"class": "logging.StreamHandler"', '"class": "logging.NullHandler"'))
def test_an_error_is_logged_and_leaves_no_order(served, server_version) -> None:
    """While the payment service is down a payment fails, its order is rolled back, and the log has the error."""
    before = served.request("/orders/")
    assert served.request("/orders/pay/", "POST")[0] == 500
    assert served.request("/orders/") == before
    assert "Internal Server Error: /orders/pay/" in served.said()
    assert "ConnectionRefusedError" in served.said()
    served.note()
    evidence.on(PostgreSQL=server_version)


@control(edit("upstream/orders/origins.py", "origin not in own", "origin == own"))
@pytest.mark.parametrize(("origin", "status"), [("https://elsewhere.example", 403), ("null", 403), (None, 201)])
def test_a_post_from_another_origin_is_refused(served, server_version, origin, status) -> None:
    """A browser sends the origin of the page; the project's own is accepted, and so is a request without one."""
    for names, wanted in ((origin, status), (f"http://127.0.0.1:{served.port}", 201)):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE)
        connection.request("POST", "/orders/", headers={"Origin": names} if names else {})
        assert connection.getresponse().status == wanted
        connection.close()
    served.note()
    evidence.on(PostgreSQL=server_version)


@control(edit("upstream/settings/base.py", '    "django.middleware.clickjacking.XFrameOptionsMiddleware",\n', ""))
@control(edit("upstream/settings/base.py", '"security.W003", ', ""))
@pytest.mark.parametrize("settings", ["settings.prod", "settings.pgbouncer"])
def test_djangos_deployment_check_finds_nothing(settings, project, database) -> None:
    """`check --deploy` has no warning but three that the settings silence."""
    given = {"DJANGO_SETTINGS_MODULE": settings, "DATABASE_DIRECT_URL": database.url}
    status, said = project.run(
        "manage.py", "check", "--deploy", "--fail-level=WARNING", database_url=database.url, **given
    )
    assert (status, "System check identified no issues (3 silenced)." in said) == (0, True), said
