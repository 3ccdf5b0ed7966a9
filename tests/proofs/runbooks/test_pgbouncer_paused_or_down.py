"""Proves docs/runbooks/pgbouncer-paused-or-down.md, with the alerts that docs/how-to/alert.md makes fire."""

import json
import os
import re
import shlex
import shutil
import subprocess

import psycopg
import pytest

from proven import evidence
from proven.problems import ProblemError
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from proven.sources.snippets import Snippet
from tests.lint import manifests
from tests.proofs.deployed import against_kubectl
from tests.proofs.heard import heard
from tests.stack.console import at_least, console
from tests.stack.leash import Leash, give
from tests.stack.pgbouncer import PgBouncer
from tests.stack.wait import free_port


@control(here("bouncer.leash.halt()", "pass"))
def test_where_pgbouncer_is_down_clients_are_refused(database, pooler) -> None:
    """Nothing listens on its port, and the operating system says so at once."""
    bouncer = pooler(database)
    bouncer.connect(database).close()
    bouncer.leash.halt()
    with pytest.raises(psycopg.OperationalError, match="Connection refused"):
        bouncer.connect(database)


@control(here("pause {database.name}", "show version"))
def test_a_pause_longer_than_query_wait_timeout_sends_clients_away(database, pooler) -> None:
    """With that text, while the console says that the database is paused."""
    bouncer = pooler(database, pool_mode="transaction")
    client = bouncer.connect(database)
    client.execute("select 1")
    with bouncer.admin() as admin:
        admin.execute(f"pause {database.name}".encode())
    with bouncer.impatient():
        assert heard(client.execute, "select 1") == "query_wait_timeout"
    (paused,) = [row["paused"] for row in bouncer.show("databases") if row["name"] == database.name]
    assert paused == 1
    client.close()


@control(here('admin.execute("pause")', 'admin.execute(f"pause {database.name}".encode())'))
def test_a_pause_of_everything_shows_in_the_state_alone(database, pooler, load) -> None:
    """PAUSE without a name: 0 beside each database, yes in SHOW STATE, until RESUME without one; 1.18 has no STATE."""
    bouncer = pooler(database, pool_mode="transaction")
    state = load("pgbouncer_console/everything.sql")
    with bouncer.admin() as admin:
        admin.execute("pause")
        assert {row["paused"] for row in bouncer.show("databases")} == {0}
        by_name = f"resume {database.name}".encode()
        assert heard(admin.execute, by_name) == f"database {database.name} is not paused"
        admin.execute("resume")
        admin.execute(f"pause {database.name}".encode())
        assert "pooler is not paused" in heard(admin.execute, "resume")
        admin.execute(by_name)
        admin.execute("pause")
        if not at_least(1, 24):
            with pytest.raises(ProblemError, match="invalid command 'show state"):
                console(bouncer, state)
            return
        assert re.search(r"paused +\| +yes", console(bouncer, state))
        admin.execute("resume")
    assert re.search(r"paused +\| +no", console(bouncer, state))


@control(here('f"{os.getpid()}\\n"', '"4194305\\n"'))
def test_a_pidfile_with_a_living_number_keeps_pgbouncer_from_starting(database, files) -> None:
    """Whichever program has it; with a number that nobody has it starts."""
    pidfile = files.write("pgbouncer.pid", f"{os.getpid()}\n")
    with pytest.raises(RuntimeError, match=r"exists, another instance running\?"):
        PgBouncer(database, pidfile=pidfile)
    files.write("pgbouncer.pid", f"{2**22 + 1}\n")  # more than Linux gives
    PgBouncer(database, pidfile=pidfile).stop()


@pytest.fixture
def files():
    """A folder that PgBouncer may write into."""
    kept = Leash("pidfile")
    give(kept.folder)
    yield kept
    kept.stop()


def refusals(script: Snippet, *more: str) -> list[str]:
    """Return what each command of a script says where there is nobody to ask, with some options more."""
    commands = [shlex.split(line) for line in script.text.splitlines() if line.startswith(("kubectl", "systemctl"))]
    return [subprocess.run([*command, *more], capture_output=True, text=True).stderr for command in commands]


@control(edit("pgbouncer/status.sh", "systemctl status --no-pager --lines=20 pgbouncer", ""))
@control(edit("pgbouncer/status.sh", "systemctl status", "systemctl state"))
@control(edit("pgbouncer/status.sh", "--lines=20", "--lines=twenty"))
def test_systemctl_takes_the_command(load) -> None:
    """It refuses a word, an option or a number that it cannot read before it looks for the service."""
    if not shutil.which("systemctl"):
        pytest.skip("needs systemctl")
    script = load("pgbouncer/status.sh")
    version = subprocess.run(["systemctl", "--version"], check=True, capture_output=True, text=True).stdout
    evidence.ran(script, "checked", against=f"systemctl without the service, {version.splitlines()[0]}")
    unread = ("Unknown command", "unrecognized option", "Failed to parse")
    assert [[why for why in unread if why in said] for said in refusals(script)] == [[]]
    assert ["unrecognized option" in said for said in refusals(script, "--last=20")] == [True]


@control(edit("kubernetes/status.sh", "kubectl get pods --selector=app.kubernetes.io/name=pgbouncer", ""))
def test_kubectl_takes_the_commands_which_select_pgbouncers_pods(load, tmp_path, monkeypatch) -> None:
    """It refuses an option that it lacks before it asks the cluster, and the label is the one in the manifest."""
    script, manifest = load("kubernetes/status.sh"), snippets.read("kubernetes/pgbouncer.yaml")
    evidence.ran(script, "checked", against=against_kubectl())
    cluster = {"name": "none", "cluster": {"server": f"http://127.0.0.1:{free_port()}"}}
    context = {"name": "none", "context": {"cluster": "none", "user": ""}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "none"}
    (tmp_path / "config").write_text(json.dumps({**config, "clusters": [cluster], "contexts": [context]}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert ["was refused" in said for said in refusals(script)] == [True, True]
    assert ["unknown flag" in said for said in refusals(script, "--last=20")] == [True, True]
    (pods, *_) = manifests.documents(manifest.place, manifest.text)
    ((name, value),) = pods.get("spec", "template", "metadata", "labels").items()
    assert script.text.split().count(f"--selector={name}={value}") == 2
