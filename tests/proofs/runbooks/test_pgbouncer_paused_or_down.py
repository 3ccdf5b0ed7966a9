"""Proves docs/runbooks/pgbouncer-paused-or-down.md, with the alerts that docs/how-to/alert.md makes fire."""

import json
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess

import psycopg
import psycopg2
import pytest

from proven import evidence
from proven.problems import ProblemError
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from proven.sources.snippets import Snippet
from tests.lint import manifests
from tests.proofs.deployed import against_kubectl
from tests.proofs.heard import heard
from tests.stack import pgbouncer
from tests.stack.console import at_least, console
from tests.stack.fixtures import note_pgbouncer
from tests.stack.leash import Leash, give, server_user
from tests.stack.pgbouncer import ADMIN, PgBouncer, scram
from tests.stack.wait import DEADLINE, free_port


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
    """They get that error, while the console says that the database is paused."""
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


@control(here('f"disable {name}"', 'f"pause {name}"'))
@control(here('f"enable {name}"', '"show version"'))
def test_a_disabled_database_refuses_new_clients_until_enable(database, pooler, load) -> None:
    """Both drivers are told that it is disabled; who is connected is served, and the console shows it as disabled."""
    bouncer = pooler(database, pool_mode="transaction")
    name, state = database.name, load("pgbouncer_console/state.sql")

    def disabled() -> list[bool]:
        console(bouncer, state)
        return [bool(row["disabled"]) for row in bouncer.show("databases") if row["name"] == name]

    with bouncer.connect(database) as there, bouncer.admin() as admin:
        admin.execute(f"disable {name}".encode())
        for driver in (psycopg, psycopg2):
            assert heard(driver.connect, bouncer.url(database)) == f'FATAL:  database "{name}" is disabled'
        assert there.execute("select 1").fetchone() == (1,)
        assert disabled() == [True]
        admin.execute(f"enable {name}".encode())
        assert heard(bouncer.connect, database) == ""
        assert disabled() == [False]


@control(here('admin.execute("pause")', 'admin.execute(f"pause {database.name}".encode())'))
def test_a_pause_of_everything_shows_in_the_state_alone(database, pooler, load) -> None:
    """After PAUSE without a name SHOW DATABASES says 0, SHOW STATE yes, until RESUME without one; 1.18 has no STATE."""
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
        assert {row["paused"] for row in bouncer.show("databases")} == {0}
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
    """Any process with that number does; with a number that no process has, PgBouncer starts."""
    pidfile = files.write("pgbouncer.pid", f"{os.getpid()}\n")
    with pytest.raises(RuntimeError, match=r"exists, another instance running\?"):
        PgBouncer(database, pidfile=pidfile)
    files.write("pgbouncer.pid", f"{2**22 + 1}\n")  # above the highest that Linux assigns
    PgBouncer(database, pidfile=pidfile).stop()


@pytest.fixture
def files():
    """A folder that PgBouncer may write into."""
    kept = Leash("pidfile")
    give(kept.folder)
    yield kept
    kept.stop()


def starts(
    files: Leash, settings: str = "", database: str = "", first: str = "", *, root: bool = False, ini: str = ""
) -> str:
    """Return what PgBouncer says as it starts. It has nowhere to listen unless the settings name an address."""
    where = f"listen_port = {free_port()}\nunix_socket_dir =\n"
    written = files.write("pgbouncer.ini", f"{first}\n[databases]\n{database}\n[pgbouncer]\n{where}{settings}\n")
    who = server_user()
    drop = [] if who is None or root else ["-u", pwd.getpwuid(who).pw_name]
    command = [*pgbouncer.find(), *drop, ini or written]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE).stderr


@control(here("starts(files, *wrong)", "starts(files)"))
@control(here(" ; the shop", ""))
@control(here('("pool_mode = session ; ours",)', '("pool_mode = session",)'))
@control(here("server_tls_ca_file = /nowhere", "server_tls_protocols = none"))
@control(here("starts(files, root=True)", "starts(files)"))
def test_pgbouncer_says_why_it_does_not_start(files) -> None:
    """Each mistake has its own error; a userlist that cannot be read does not by itself keep it from starting."""
    note_pgbouncer()
    port = free_port()
    place = f"unix_socket_dir = {files.folder}\nlisten_port = {port}"
    nothing, denied = "no such file or directory", "permission denied"
    shut = files.folder / "shut"  # only root may write there, and PgBouncer does not run as root
    shut.mkdir(mode=0o500)
    misspelt, cannot = "pool_mod = session", "cannot load config file"
    two_files = "client_tls_key_file and client_tls_cert_file must be set"
    unread = "client_tls_sslmode = require\nclient_tls_key_file = /nowhere\nclient_tls_cert_file = /nowhere"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"listen_addr = 127.0.0.1\nlisten_port = {taken.getsockname()[1]}"
        mistakes: dict[tuple[str, ...], tuple[str, ...]] = {
            ("unknown parameter: pgbouncer/pool_mod", 'invalid value "session"', cannot): (misspelt,),
            ('invalid section "nowhere" in configuration', cannot): ("[nowhere]\nx = 1",),
            ("value without section", 'invalid value "md5" for parameter auth_type', cannot): (
                "",
                "",
                "auth_type = md5",
            ),
            ('invalid value "session ; ours" for parameter pool_mode', cannot): ("pool_mode = session ; ours",),
            ("syntax error in configuration", cannot): ("auth_type",),
            ("syntax error in connection string", cannot): ("", "shop = password='open"),
            (f'could not load file "/nowhere": {nothing}', cannot): ("%include /nowhere",),
            (f"could not open auth_file /nowhere: {nothing}", "nowhere to listen on"): ("auth_file = /nowhere",),
            ("broken auth file", "nowhere to listen on"): (f"auth_file = {files.write('users.txt', 'web secret')}",),
            ("could not open pidfile '/nowhere/x'", nothing): (f"{place}\npidfile = /nowhere/x",),
            (f"could not open pidfile '{shut}/x'", denied): (f"{place}\npidfile = {shut}/x",),
            ("cannot open logfile: '/nowhere/x'", nothing): (f"{place}\nlogfile = /nowhere/x",),
            ("getaddrinfo('no.such.host.invalid'",): ("listen_addr = no.such.host.invalid",),
            (two_files, "TLS setup failed"): ("client_tls_sslmode = require",),
            ('failed to load certificate file "/nowhere"', "TLS setup failed"): (unread,),
        }
        new = at_least(1, 24)  # an older one goes on without it
        list_of = "failed to listen on any address in listen_addr list" if new else "nowhere to listen on"
        mistakes["cannot listen on 127.0.0.1", "address already in use", list_of] = (busy,)
        elsewhere = "cannot assign requested address"
        mistakes["cannot listen on 192.0.2.1", elsewhere, list_of] = ("listen_addr = 192.0.2.1",)
        socket_of = "failed to create unix socket" if new else "nowhere to listen on"
        mistakes["cannot listen on unix:/nowhere", nothing, socket_of] = ("unix_socket_dir = /nowhere",)
        mistakes[f"cannot listen on unix:{shut}", denied, socket_of] = (f"unix_socket_dir = {shut}",)
        for said, wrong in mistakes.items():
            heard = starts(files, *wrong).lower()
            assert [words for words in said if words.lower() not in heard] == [], heard
    told = starts(files, "server_tls_sslmode = verify-full\nserver_tls_ca_file = /nowhere").lower()
    assert ("nowhere to listen on" in told, "failed to load" in told) == (True, False), told
    for mode in ("allow", "prefer"):
        assert two_files in starts(files, f"client_tls_sslmode = {mode}").lower(), mode
    for entry in ("shop = postgresql://db/shop", "shop = host=db ; the shop", "shop = host=db password=two words"):
        assert "syntax error in connection string" in starts(files, "", entry), entry
    assert f'could not load file "/nowhere": {nothing}' in starts(files, ini="/nowhere").lower()
    lock = files.write(f".s.PGSQL.{port}.lock", "")
    assert f"unix port {port} is in use" in starts(files, place)
    lock.unlink()
    with socket.socket(socket.AF_UNIX) as another:
        another.bind(str(files.folder / f".s.PGSQL.{port}"))
        give(files.folder / f".s.PGSQL.{port}")
        another.listen()
        assert "unix socket is in use, cannot continue" in starts(files, place)
    if os.getuid() == 0:
        as_root = starts(files, root=True)
        assert "PgBouncer should not run as root" in as_root
        assert "PgBouncer should not run as root" not in starts(files)


@control(here("web secret\\n", ""))
@control(here("; a comment", "# a comment"))
@control(here("(before, ADMIN, behind)", "(ADMIN, behind, before)"))
def test_a_broken_line_of_the_userlist_hides_what_comes_behind_it(database, pooler, second_user) -> None:
    """A user before that line can log in. One after it, who could while no line was broken, cannot.

    A line that is a comment, after a semicolon, breaks nothing.
    """
    secrets = scram(database, second_user)
    before, behind = database.role.name, second_user.role.name
    users = {name: secrets.get(name, "") for name in (before, ADMIN, behind)}  # the administrator's is filled in
    bouncer = pooler(database, users=users)
    theirs = {"user": behind, "password": second_user.role.password}
    assert heard(bouncer.connect, database, **theirs) == ""
    userlist = (bouncer.leash.folder / "userlist.txt").read_text()
    bouncer.leash.write("userlist.txt", userlist.replace(f'"{behind}"', f'; a comment\n"{behind}"'))
    bouncer.restart()
    assert "broken auth file" not in bouncer.leash.said()
    assert heard(bouncer.connect, database, **theirs) == ""
    bouncer.leash.write("userlist.txt", userlist.replace(f'"{behind}"', f'web secret\n"{behind}"'))
    bouncer.restart()
    assert "broken auth file" in bouncer.leash.said()
    assert heard(bouncer.connect, database) == ""
    assert "authentication failed" in heard(bouncer.connect, database, **theirs)


def refusals(script: Snippet, *more: str) -> list[str]:
    """Return what each command of a script says where no service answers, with additional options."""
    commands = [shlex.split(line) for line in script.text.splitlines() if line.startswith(("kubectl", "systemctl"))]
    return [subprocess.run([*command, *more], capture_output=True, text=True).stderr for command in commands]


@control(edit("pgbouncer/status.sh", "systemctl status --no-pager --lines=20 pgbouncer", ""))
@control(edit("pgbouncer/status.sh", "systemctl status", "systemctl state"))
@control(edit("pgbouncer/status.sh", "--lines=20", "--lines=twenty"))
def test_systemctl_takes_the_command(load) -> None:
    """It accepts each word, option and number; an unknown option is rejected before it looks for the service."""
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
    """It accepts each option; an unknown one is rejected before it asks the cluster. The label is the manifest's."""
    script, manifest = load("kubernetes/status.sh"), snippets.read("kubernetes/pgbouncer.yaml")
    evidence.ran(script, "checked", against=against_kubectl())
    cluster = {"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "none", "context": {"cluster": "none", "user": ""}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "none"}
    (tmp_path / "config").write_text(json.dumps({**config, "clusters": [cluster], "contexts": [context]}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert ["was refused" in said for said in refusals(script)] == [True, True]
    assert ["unknown flag" in said for said in refusals(script, "--last=20")] == [True, True]
    (pods, *_) = manifests.documents(manifest.place, manifest.text)
    ((name, value),) = pods.get("spec", "template", "metadata", "labels").items()
    assert script.text.split().count(f"--selector={name}={value}") == 2
