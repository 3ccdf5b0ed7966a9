"""A run leaves nothing on a server that is not ours either."""

import os
import subprocess
import sys

from proven import ROOT
from tests.stack.database import Role
from tests.stack.postgres import Server
from tests.stack.wait import until

RUN = """
import os, signal
from tests.stack import janitor, postgres
from tests.stack.database import Database
server = postgres.given()
janitor.start(server)
database = Database(server)
with database.connect() as connection:
    connection.execute("create table kept ()")
    print(server.prefix, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_janitor_drops_the_databases_and_roles_of_a_killed_run(server: Server) -> None:
    """It finds them by the prefix that the run made up for itself."""
    admin = Role(server, "superuser")
    url = f"postgresql://{admin.name}:{admin.password}@{server.host}:{server.port}/postgres"
    run = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, capture_output=True, text=True
    )
    prefix = run.stdout.strip()
    assert prefix, run.stderr
    with server.connect() as connection:
        left = "select datname as name from pg_database union all select rolname from pg_roles"
        until("all is dropped", lambda: not any(name.startswith(prefix) for (name,) in connection.execute(left)))
        admin.drop(connection)
