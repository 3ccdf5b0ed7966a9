"""Proves docs/reference/example-project.md: the folder as a reader copies it, started by its own script."""

import http.client
import os
import re
import secrets
import socket
import sys
from importlib.metadata import version
from pathlib import Path

from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, edit
from tests.stack.database import Database
from tests.stack.leash import Leash
from tests.stack.wait import DEADLINE


@control(edit("upstream/.env.example", "DJANGO_ALLOWED_HOSTS=localhost,127.0.0.1", ""))
def test_the_folder_starts_as_it_was_copied(database: Database, tmp_path: Path) -> None:
    """Copied, with .env filled in and nothing else in the environment, start.sh makes the tables and serves."""
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
        # One worker, as starting it costs the most; and no socket for commands in a home that is nobody's.
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
