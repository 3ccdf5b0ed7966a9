"""Proves docs/how-to/kubernetes.md: manifests against Kubernetes' schemas, and their contents on real processes."""

import json
import os
import re
import shutil
import socket
import subprocess
from base64 import b64decode
from functools import cache, partial
from pathlib import Path
from signal import SIGKILL, SIGTERM

import psycopg
import pytest
import yaml

from proven import ROOT, evidence
from proven.problems import Problem
from proven.sources import snippets
from proven.sources.controls import control, each, edit, here
from proven.sources.snippets import Snippet
from tests.lint import kubernetes, manifests
from tests.lint.findings import refuse
from tests.lint.kubernetes import SCHEMAS
from tests.proofs import deployed
from tests.proofs.deployed import against_kubectl, asking, connects, kubectl, more, tell_to_stop
from tests.proofs.pooled import BURST, a_day_of, pool, settings_of
from tests.stack import rollout
from tests.stack.handover import Handover
from tests.stack.postgres import bin_dir
from tests.stack.upstream import serving
from tests.stack.wait import until

FOLDER = "kubernetes"
APP, PATCH, SECRETS = (f"{FOLDER}/{name}" for name in ("app.yaml", "sidecar.yaml", "secrets.sh"))
CENTRAL = ("config.yaml", "pgbouncer.yaml", "app.yaml")
BESIDE = ("sidecar-config.yaml", "app.yaml")  # with sidecar.yaml, which changes app.yaml
INI = ("data", "pgbouncer.ini")
PICTURE = ROOT / "docs/assets/rollout-of-pgbouncer.svg"


@pytest.fixture
def start(setup):
    """Start a PgBouncer with the ini of a ConfigMap: start("config.yaml")."""
    setup.note()
    started = []

    def one(name: str, **settings):
        snippet = evidence.load(f"{FOLDER}/{name}")
        (document,) = documents(snippet)
        started.append(deployed.start(setup, snippet, deployed.within(snippet, document, *INI), **settings))
        return started[-1]

    yield one
    for bouncer in started:
        bouncer.stop()


@pytest.fixture
def served(setup, tables, project, load):  # noqa: ARG001  (they are there)
    """Serve the application with the environment that its manifest sets: served(port, DB_CONN_MAX_AGE="1")."""

    def by(port: int, **settings: str):
        variables = deploy(load).get(*container("containers"), "env")
        address, found = deployed.environment(variables, setup, port)
        evidence.ran(load(APP), "started")
        return serving(project, address, **{**found, "GUNICORN_WORKERS": "1", **settings})

    return by


def documents(snippet: Snippet) -> list[manifests.Document]:
    """Return every document of a manifest."""
    return read(snippet.place, snippet.text)


read = cache(manifests.documents)  # nearly every proof looks at the same ones


def container(group: str) -> tuple[str | int, ...]:
    """Return the path of a pod's first container in this group."""
    return (*kubernetes.POD, group, 0)


def pods(load) -> manifests.Document:
    """Return the Deployment of the central PgBouncer."""
    return documents(load(f"{FOLDER}/pgbouncer.yaml"))[0]


def deploy(load) -> manifests.Document:
    """Return the application's Deployment."""
    (document,) = documents(load(APP))
    return document


def checked(names, load) -> dict[str, str]:
    """Return the files by place, and record the manifests as checked against Kubernetes' schemas."""
    found = [load(f"{FOLDER}/{name}") for name in names if name.endswith(".yaml")]
    for snippet in found:
        evidence.ran(snippet, "checked", against=SCHEMAS)
    script = snippets.read(SECRETS)  # another proof runs it
    return {snippet.place: snippet.text for snippet in (*found, script)}


def in_source(problem: Problem) -> Problem:
    """Return a problem at its line in the file, region markers included."""
    snippet = snippets.read(problem.path.removeprefix("snippets/"))
    return Problem(problem.path, snippet.source_line(problem.line), problem.message)


# ---- valid for Kubernetes, and consistent --------------------------------------------------------------------


@control(
    each(
        "kubernetes/pgbouncer.yaml",
        {
            "*.replicas": "1",
            "*.maxSurge": "0",
            "*.limits.*": "1k",
            "*.sleep.seconds": "130",
            "*.terminationGracePeriodSeconds": "9",
            "*.image": "registry.example.com/pgbouncer:1.26.0",
        },
        but={
            "how unevenly pods may lie is yours to choose": ["*.maxSkew"],
            "how often it asks is yours to choose": ["*Probe.*Seconds"],
            "how patiently it asks is yours to choose": ["*Probe.failureThreshold"],
            "nothing refers to it": [
                "*.containers.pgbouncer.name",
                "Service.spec.ports.pgbouncer.name",
                "Pod*.metadata.name",
                "Network*.metadata.name",
                "Deployment.metadata.labels.*",
            ],
        },
    )
)
@control(
    each(
        "kubernetes/app.yaml",
        {
            "*.replicas": "1",
            "*.maxSurge": "0",
            "*.sleep.seconds": "50",
            "*.terminationGracePeriodSeconds": "9",
            "*.GUNICORN_WORKERS.value": '"500"',
            "*.GUNICORN_THREADS.value": '"500"',
        },
        but={
            "how often it asks is yours to choose": ["*Probe.*Seconds"],
            "of the liveness probe another proof holds it": ["*Probe.failureThreshold"],
            "the sidecar's patch refers to it, and its proof holds it": ["*.containers.upstream.name", "metadata.name"],
            "it is yours": ["*.image"],
            "nothing refers to it": ["metadata.labels.*"],
        },
    )
)
@control(each("kubernetes/config.yaml", {"*max_db_connections": "3", "*max_client_conn": "3"}))
@control(edit("kubernetes/pgbouncer.yaml", "targetPort: pgbouncer", "targetPort: bouncer"))
@control(edit("kubernetes/pgbouncer.yaml", "replicas: 2", "replica: 2"))
@control(edit("kubernetes/secrets.sh", "apply upstream ", "apply upstream2 "))
@control(edit("kubernetes/secrets.sh", "userlist.txt=/dev/stdin", "users.txt=/dev/stdin"))
@control(edit("kubernetes/pgbouncer.yaml", "              - secret:\n                  name: pgbouncer-users\n", ""))
def test_every_manifest_is_one_that_kubernetes_knows_and_fits_the_others(load) -> None:
    """Every field is in Kubernetes' schemas, and names, ports, labels, Secrets and addresses agree across files."""
    refuse(in_source(problem) for problem in kubernetes.problems(checked(CENTRAL, load)))


@control(
    each(
        "kubernetes/sidecar.yaml",
        {"*.limits.*": "1k", "*.image": "registry.example.com/pgbouncer:1.26.0"},
        but={
            "the proof that runs it holds it": ["*.exec.command.1"],
            "how often it asks is yours to choose": ["*Probe.periodSeconds"],
            "how patiently it asks is yours to choose": ["*Probe.failureThreshold"],
            "nothing refers to it": ["*.initContainers.pgbouncer.name"],
        },
    )
)
@control(
    edit("kubernetes/app.yaml", "- name: upstream\n          image", "- name: another\n          image"),
    fails_with="unpack",
)
@control(each("kubernetes/sidecar-config.yaml", {"*max_db_connections": "3", "*max_client_conn": "3"}))
@control(edit("kubernetes/app.yaml", "  name: upstream\n  labels", "  name: another\n  labels"))
@control(edit("kubernetes/sidecar.yaml", "restartPolicy: Always", "restartPolicy: Sometimes"))
@control(
    edit("kubernetes/sidecar.yaml", "        - name: upstream\n", "        - name: upstream\n          stdin: true\n")
)
def test_the_application_with_the_patch_is_one_that_kubernetes_knows_too(load) -> None:
    """The patch adds a native sidecar and a config volume, and changes DATABASE_URL; all files still agree."""
    texts = checked(BESIDE, load)
    changed = patched(load)
    evidence.ran(load(PATCH), "checked", against=SCHEMAS)
    texts[snippets.read(APP).place] = yaml.safe_dump(changed)
    assert [str(problem) for problem in kubernetes.problems(texts)] == []
    plain = yaml.safe_load(load(APP).text)
    assert changed["metadata"] == plain["metadata"]
    was, now = (one["spec"]["template"]["spec"] for one in (plain, changed))
    (sidecar,) = now.pop("initContainers")
    assert sidecar["restartPolicy"] == "Always"
    assert [each["name"] for each in now["volumes"] if each not in was["volumes"]] == ["config"]
    (before,), (after,) = was.pop("containers"), now.pop("containers")
    assert [each["name"] for each in after["env"] if each not in before["env"]] == ["DATABASE_URL"]
    assert {**after, "env": 0} == {**before, "env": 0}
    assert {**now, "volumes": 0} == {**was, "volumes": 0}


def patched(load) -> dict:
    """Return the application's Deployment with the sidecar."""
    return kubernetes.merged(yaml.safe_load(load(APP).text), yaml.safe_load(load(PATCH).text))


@control(edit("kubernetes/sidecar.yaml", "kubectl patch --filename", "kubectl patch --type=merge --filename"))
def test_kubectl_applies_the_patch_as_the_page_says(load, tmp_path) -> None:
    """The command at the top of the patch produces the Deployment that the other proofs check.

    If the application's container has another name, the patch adds a container without an image.
    """
    for path in (APP, PATCH):
        (tmp_path / Path(path).name).write_text(load(path).text)
        evidence.ran(load(path), "checked", against=against_kubectl())
    command = re.search(r"^# kubectl (patch .*?) \|", load(PATCH).text.replace("\\\n#", ""), re.MULTILINE)
    assert command, "the patch says how it is applied"
    assert same(yaml.safe_load(kubectl(*command[1].split(), cwd=tmp_path)), patched(load))
    another = load(APP).text.replace("- name: upstream\n", "- name: another\n")
    (tmp_path / Path(APP).name).write_text(another)
    pod = yaml.safe_load(kubectl(*command[1].split(), cwd=tmp_path))["spec"]["template"]["spec"]
    assert {each["name"]: "image" in each for each in pod["containers"]} == {"another": True, "upstream": False}


def same(one: object, other: object) -> bool:
    """Return whether two manifests are equal, in whatever order."""

    def ordered(value: object) -> object:
        if isinstance(value, dict):
            return {key: ordered(each) for key, each in value.items()}
        return (
            sorted(map(ordered, value), key=partial(json.dumps, sort_keys=True)) if isinstance(value, list) else value
        )

    return ordered(one) == ordered(other)


@control(edit("kubernetes/secrets.sh", "--invert-match '^\"pgbouncer_admin\"'", "''"))
@control(edit("kubernetes/secrets.sh", "--from-env-file=/dev/stdin", '--from-literal="PGPASSWORD=$UPSTREAM_PASSWORD"'))
@control(edit("kubernetes/secrets.sh", "printf 'PGPASSWORD", "env printf 'PGPASSWORD"))
@control(
    edit(
        "kubernetes/secrets.sh",
        "grep --invert-match '^\"pgbouncer_admin\"' userlist.txt |\n"
        "  apply pgbouncer-users --from-file=userlist.txt=/dev/stdin",
        "apply pgbouncer-users --from-literal=userlist.txt=\"$(grep '' userlist.txt)\"",
    )
)
@control(
    edit(
        "kubernetes/secrets.sh",
        '"$DJANGO_SECRET_KEY" |\n  apply upstream --from-env-file=/dev/stdin',
        '"$DJANGO_SECRET_KEY" >upstream.env\napply upstream --from-env-file=upstream.env',
    )
)
@control(
    edit(
        "kubernetes/secrets.sh",
        '"$DJANGO_SECRET_KEY" |\n  apply upstream --from-env-file=/dev/stdin',
        '"$DJANGO_SECRET_KEY" >../upstream.env\napply upstream --from-env-file=../upstream.env',
    )
)
def test_the_script_makes_the_secrets_that_the_manifests_name(load, tmp_path, setup) -> None:
    """kubectl generates every Secret for real, with the expected contents; only its apply is intercepted.

    Of the other programs it may run grep alone. No argument of either contains a password or a line of the userlist, no
    byte is written into a file, and without a variable nothing is sent.
    """
    script = load(SECRETS)
    evidence.ran(script, "checked", against=against_kubectl())
    setup.note()
    passwords = {"UPSTREAM_PASSWORD": "50 % of $HOME", "DJANGO_SECRET_KEY": "another"}
    users = "".join(f'"{name}" "{secret}"\n' for name, secret in setup.users.items())
    without_admin = "".join(line for line in users.splitlines(keepends=True) if "pgbouncer_admin" not in line)
    made = secrets_of(script, tmp_path, setup, passwords)
    arguments = (tmp_path / "arguments").read_text()
    assert {"create", "userlist.txt"} <= {*arguments.splitlines()}
    assert not [each for each in (*passwords.values(), *setup.users.values()) if each in arguments]
    assert made == {
        "database-ca": {"ca.crt": "a certificate\n"},
        "pgbouncer-users": {"userlist.txt": without_admin},
        "upstream": {"PGPASSWORD": "50 % of $HOME", "DJANGO_SECRET_KEY": "another"},
    }
    assert {file.name for file in tmp_path.iterdir()} == {"kubectl", "grep", "arguments", "userlist.txt", "ca.crt"}
    command = {"args": ["sh", "-c", script.text], "cwd": tmp_path, "capture_output": True, "text": True}
    missing = subprocess.run(**command, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert "export the password" in missing.stderr
    assert not missing.stdout


def secrets_of(script: Snippet, folder: Path, setup, passwords: dict[str, str]) -> dict[str, dict[str, str]]:
    """Run the script; return the Secrets that it would apply, decoded.

    It finds kubectl and grep and no other program, and none of them can write a byte into any file, except that the
    file `arguments` lists what those two got.
    """
    (folder / "userlist.txt").write_text("".join(f'"{name}" "{secret}"\n' for name, secret in setup.users.items()))
    (folder / "ca.crt").write_text("a certificate\n")
    sends = f'if test "$1" = apply; then {shutil.which("cat")}; echo ---; exit; fi'
    for name, first in (("kubectl", sends), ("grep", "")):
        stand_in = folder / name
        noted = f'(ulimit -S -f unlimited; printf "%s\\n" "$@" >>{folder}/arguments)'
        stand_in.write_text(f'#!/bin/sh\n{noted}\n{first}\nexec {shutil.which(name)} "$@"\n')
        stand_in.chmod(0o755)
    command = [str(shutil.which("sh")), "-c", f"ulimit -S -f 0\n{script.text}"]
    environment = {"PATH": str(folder), "HOME": str(folder), **passwords}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, f"it ended with {ran.returncode}, {ran.stderr}"
    made = {each["metadata"]["name"]: each.get("data", {}) for each in yaml.safe_load_all(ran.stdout) if each}
    return {name: {key: b64decode(of).decode() for key, of in data.items()} for name, data in made.items()}


# ---- the configuration, started ------------------------------------------------------------------------------


@control(edit("kubernetes/config.yaml", "default_pool_size = 20", "default_pool_size = 020"))
@control(edit("kubernetes/sidecar-config.yaml", "default_pool_size = 4", "default_pool_size = 04"))
@pytest.mark.parametrize("name", ["config.yaml", "sidecar-config.yaml"])
def test_pgbouncer_starts_with_what_the_configmap_holds(start, setup, load, name) -> None:
    """SHOW CONFIG has every setting as written, except those that are tied to a cluster, and a client is served."""
    (document,) = documents(load(f"{FOLDER}/{name}"))
    deployed.in_effect(start(name), document.get(*INI), setup.database)


@control(edit("kubernetes/config.yaml", "max_client_conn = 1000", "max_client_conn = 10"))
@pytest.mark.parametrize("name", ["config.yaml", "sidecar-config.yaml"])
def test_the_files_of_the_cluster_together_serve_a_day_of_bursts_and_restarts(start, served, setup, name) -> None:
    """With the ConfigMap's PgBouncer and the application's environment, every client and request is served."""
    bouncer = start(name)
    with served(bouncer.port) as gunicorn:
        assert a_day_of(gunicorn, bouncer, setup.database) == (200, {"upstream": 4 * BURST}, 200)


@control(edit("kubernetes/config.yaml", "unix_socket_dir =\n", "unix_socket_dir =\n    logfile = /tmp/log\n"))
@control(edit("kubernetes/config.yaml", "unix_socket_dir =\n", "unix_socket_dir = /tmp\n"))
def test_pgbouncer_needs_no_file_that_it_may_write(start, load) -> None:
    """It has no Unix socket, log file or PID file: the only file it has open is the one its output goes to."""
    bouncer = start("config.yaml")
    (document,) = documents(load(f"{FOLDER}/config.yaml"))
    config = {row["key"]: row["value"] for row in bouncer.show("config")}
    written = settings_of(document.get(*INI))
    assert written["unix_socket_dir"] == ""
    assert not {"logfile", "pidfile"} & written.keys()
    assert [config[name] for name in ("unix_socket_dir", "logfile", "pidfile")] == ["", "", ""]
    opened = [str(file.readlink()) for file in Path(f"/proc/{bouncer.leash.pid}/fd").iterdir()]
    # Its output goes to the container's log.
    assert {file for file in opened if Path(file).is_file()} == {str(bouncer.leash.log)}


@control(edit("kubernetes/app.yaml", "upstream@pgbouncer", "upstream:other@pgbouncer"))
@control(edit("kubernetes/app.yaml", "upstream@postgres.example.com", "upstream:other@postgres.example.com"))
@control(edit("kubernetes/secrets.sh", "DJANGO_SECRET_KEY=%s", "SECRET_KEY=%s"))
def test_the_application_gets_its_password_from_the_environment(start, setup, project, load, tmp_path) -> None:
    """The Secret named in app.yaml gives Django its key and the password of both aliases; a wrong one fails on both."""
    against_kubectl()
    (source,) = deploy(load).get(*container("containers"), "envFrom")
    passwords = {"UPSTREAM_PASSWORD": setup.roles["upstream"].password, "DJANGO_SECRET_KEY": "the key"}
    sent = secrets_of(load(SECRETS), tmp_path, setup, passwords)[source["secretRef"]["name"]]
    evidence.ran(load(APP), "started")
    evidence.ran(load(SECRETS), "checked", against=against_kubectl())
    variables = deploy(load).get(*container("containers"), "env")
    deployed.gets_in(setup, project, start("config.yaml"), variables, sent)


@control(edit("kubernetes/config.yaml", "server_tls_sslmode = verify-full", "server_tls_sslmode = require"))
@control(edit("kubernetes/app.yaml", "value: verify-full", "value: prefer"))
@pytest.mark.parametrize("whose", ["ours", "others"])
def test_both_ways_to_postgresql_are_verified_with_the_files_of_the_cluster(secured, project, load, whose) -> None:
    """PgBouncer's connection and the direct one are encrypted; with another CA's ca.crt, both are refused."""
    setup, authorities = secured
    config = load(f"{FOLDER}/config.yaml")
    evidence.ran(load(APP), "started")
    ini = deployed.within(config, documents(config)[0], *INI)
    variables = deploy(load).get(*container("containers"), "env")
    deployed.verified(setup, project, config, ini, variables, authorities, whose)


# ---- probes --------------------------------------------------------------------------------------------------


@control(here("bouncer.leash.signal(SIGTERM)", "pass"), fails_with="it takes nobody: not within")
def test_the_probes_of_pgbouncer_pass_when_it_serves_and_not_before(start, setup, load) -> None:
    """A TCP probe, like the kubelet's, passes while PgBouncer serves, and fails after SIGTERM until it is restarted.

    It also passes when max_client_conn is reached, although the next client is refused.
    """
    probes = [pods(load).get(*container("containers"), probe) for probe in ("readinessProbe", "livenessProbe")]
    assert all(list(probe["tcpSocket"]) == ["port"] for probe in probes)
    evidence.ran(load(f"{FOLDER}/pgbouncer.yaml"), "checked", against=SCHEMAS)
    bouncer = start("config.yaml", max_client_conn=1)
    assert connects(bouncer.port)
    with bouncer.connect(setup.database):
        assert connects(bouncer.port)
        with pytest.raises(psycopg.OperationalError, match="no more connections allowed"):
            bouncer.connect(setup.database)
        bouncer.leash.signal(SIGTERM)
        until("it takes nobody", lambda: not connects(bouncer.port))
        assert not bouncer.leash.ended()
    until("it has ended", bouncer.leash.ended)
    assert not connects(bouncer.port)
    bouncer.restart()
    assert connects(bouncer.port)


@control(here("log_connections=0", "log_connections=1"))
@control(here("log_disconnections=0", "log_disconnections=1"))
def test_a_probe_by_tcp_leaves_no_line_in_pgbouncers_log(start, setup) -> None:
    """A client that goes without a word is `client unexpected eof` there, unless log_disconnections is 0."""

    def said(bouncer) -> str:
        """Return what its log says of a probe, and then of a client that is cut off."""
        before = len(bouncer.leash.said())
        assert connects(bouncer.port)
        client = bouncer.connect(setup.database)
        with socket.socket(fileno=os.dup(client.fileno())) as its:
            its.shutdown(socket.SHUT_RDWR)
        until("it has left", lambda: not any(row["database"] == "upstream" for row in bouncer.show("clients")))
        client.close()
        return bouncer.leash.said()[before:]

    first, last = [
        line for line in said(start("config.yaml")).splitlines() if " C-" in line and "pgbouncer/" not in line
    ]
    assert "login attempt" in first
    assert "closing because: client unexpected eof" in last
    quiet = start("config.yaml", log_connections=0, log_disconnections=0)
    assert said(quiet) == ""


@control(here('start("config.yaml", ', 'start("config.yaml", listen_addr="127.0.0.2", '), fails_with="PgBouncer")
def test_the_probes_of_pgbouncer_pass_while_the_database_is_away(start) -> None:
    """PgBouncer accepts TCP connections without its database, even after a client has failed."""
    bouncer = start("config.yaml", port=1, query_wait_timeout=0.1)
    assert connects(bouncer.port)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(bouncer.url(bouncer.databases["upstream"]))
    assert connects(bouncer.port)


@control(edit("kubernetes/sidecar.yaml", "--host=127.0.0.1", "--host=127.0.0.2"))
def test_the_sidecars_probe_fails_before_pgbouncer_runs_and_passes_then(start, load) -> None:
    """The manifest's pg_isready command, on another port, fails without PgBouncer and succeeds with it."""
    (sidecar,) = patched(load)["spec"]["template"]["spec"]["initContainers"]
    program, *options = sidecar["startupProbe"]["exec"]["command"]

    def passes(port: int) -> bool:
        moved = [option.replace("6432", str(port)) for option in options]
        return subprocess.run([bin_dir() / Path(program).name, *moved], capture_output=True).returncode == 0

    evidence.ran(load(APP), "checked", against=SCHEMAS)
    evidence.ran(load(PATCH), "started")
    assert not passes(1)
    assert passes(start("sidecar-config.yaml").port)


@control(
    edit(
        "kubernetes/app.yaml",
        "name: Host\n                  value: www.example.com",
        "name: Host\n                  value: upstream",
    )
)
def test_the_probes_of_the_application_name_a_host_that_django_knows(start, served, load) -> None:
    """With the manifest's Host header both probes get 200; with the pod's address, the kubelet's default, 400."""
    of = deploy(load).get(*container("containers"))
    with served(start("config.yaml").port, DJANGO_ALLOWED_HOSTS="www.example.com,127.0.0.1") as gunicorn:
        gunicorn.note()
        for probe in ("readinessProbe", "livenessProbe"):
            asked = of[probe]["httpGet"]
            (header,) = asked["httpHeaders"]
            assert deployed.status(gunicorn.port, asked["path"], header["value"]) == 200
            assert deployed.status(gunicorn.port, asked["path"], f"10.0.0.1:{gunicorn.port}") == 400


@control(edit("kubernetes/app.yaml", "failureThreshold: 6", "failureThreshold: 3"))
@control(edit("kubernetes/config.yaml", "query_wait_timeout = 15", "query_wait_timeout = 30"))
@control(here('GUNICORN_THREADS="1"', 'GUNICORN_THREADS="2"'))
def test_threads_that_wait_for_a_server_connection_are_not_restarted(start, served, setup, load) -> None:
    """A waiting thread delays the liveness probe, which allows over twice query_wait_timeout; both then get 200."""
    probe = deploy(load).get(*container("containers"), "livenessProbe")
    (config,) = documents(load(f"{FOLDER}/config.yaml"))
    checked(CENTRAL, load)
    waits = int(settings_of(config.get(*INI))["query_wait_timeout"])
    assert probe["periodSeconds"] * probe["failureThreshold"] > 2 * waits
    bouncer = start("config.yaml", max_db_connections=1)
    with served(bouncer.port, GUNICORN_THREADS="1") as gunicorn:
        with bouncer.connect(setup.database, autocommit=False) as holder:
            holder.execute("select 1")
            waiting = deployed.sent(gunicorn, "/connection/")
            until("it waits for a server connection", lambda: pool(bouncer)["cl_waiting"] == 1)
            probed = deployed.sent(gunicorn, probe["httpGet"]["path"])
            with pytest.raises(TimeoutError):
                probed.result(timeout=0.5)
        assert (waiting.result()[0], probed.result()[0]) == (200, 200)


# ---- a rollout -----------------------------------------------------------------------------------------------


@control(here("service.lead(new.port)", "pass"), fails_with="not within")
@control(here('DB_CONN_MAX_AGE="1"', 'DB_CONN_MAX_AGE="none"'), fails_with="it has ended by itself: not within")
def test_a_rollout_of_pgbouncer_costs_no_request(start, served, load) -> None:
    """In the kubelet's order (new pod ready, Service switched, preStop, SIGTERM), every request under load gets 200.

    Django keeps its connections for one second, and the old PgBouncer exits by itself.
    """
    old, new = start("config.yaml"), start("config.yaml")
    service = Handover(old.port)
    with served(service.port, DB_CONN_MAX_AGE="1", GUNICORN_THREADS="8") as gunicorn, asking(gunicorn) as heard:
        gunicorn.note()
        assert connects(new.port)
        service.lead(new.port)
        assert connects(old.port)  # while preStop sleeps, clients that are still sent here are served
        more(heard)
        old.leash.signal(SIGTERM)
        until("it takes nobody new", lambda: not connects(old.port))
        until("it has ended by itself", old.leash.ended)
        more(heard)
    service.stop()
    assert set(heard) == {200}, heard
    checked(CENTRAL, load)


@control(here("DB_CONN_MAX_AGE=age", 'DB_CONN_MAX_AGE="0"'))
@control(here("DB_CONN_MAX_AGE=age", 'DB_CONN_MAX_AGE="none"'))
@pytest.mark.parametrize(("age", "reached"), [("none", False), ("0", True)])
def test_a_new_pod_gets_clients_as_their_connections_pass_their_age(start, served, age, reached) -> None:
    """The Service leads to both by turns. A thread that keeps its connection stays with the old one."""
    old, new = start("config.yaml"), start("config.yaml")
    service = Handover(old.port)
    with served(service.port, DB_CONN_MAX_AGE=age, GUNICORN_THREADS="1") as gunicorn:
        assert gunicorn.request("/connection/")[0] == 200
        service.lead(old.port, new.port)
        assert {gunicorn.request("/connection/")[0] for _ in range(4)} == {200}
        assert ("login attempt: db=upstream" in new.leash.said()) is reached
    service.stop()


@control(
    here("rollout.trace(old, new,", "rollout.trace(old, old,"), fails_with="server closed the connection unexpectedly"
)
def test_the_picture_of_a_rollout_is_what_both_pgbouncers_showed(start, setup, request) -> None:
    """The drawing shows SHOW CLIENTS after each step: all four end on the new PgBouncer, only C after being cut off."""
    old, new = start("config.yaml"), start("config.yaml")
    traced = rollout.trace(old, new, setup.database)
    if request.config.getoption("record"):
        PICTURE.write_text(rollout.draw(traced), encoding="utf-8")
    assert PICTURE.read_text(encoding="utf-8") == rollout.draw(traced), "make record draws it again"
    assert {states[-1] for states in traced.values()} == {"new"}
    assert [name for name, states in traced.items() if "" in states[2:]] == ["C"]


@control(here('DB_CONN_MAX_AGE="0"', 'DB_CONN_MAX_AGE="60"'))
def test_without_prestop_whoever_is_still_sent_there_is_refused(start, served) -> None:
    """After an immediate SIGTERM, while the Service still points to it, a request that needs a new connection fails."""
    old = start("config.yaml")
    service = Handover(old.port)
    with served(service.port, DB_CONN_MAX_AGE="0", GUNICORN_THREADS="1") as gunicorn:
        assert gunicorn.request("/connection/")[0] == 200
        old.leash.signal(SIGTERM)
        until("it takes nobody new", lambda: not connects(old.port))
        assert gunicorn.request("/connection/")[0] == 500
    service.stop()


@control(here("service.lead(new.port)", "pass"))
@pytest.mark.parametrize(("checks", "expected"), [("True", 200), ("False", 500)])
def test_whoever_is_idle_when_the_grace_ends_notices_nothing(start, served, checks, expected) -> None:
    """SIGKILL cuts the kept connection: with health checks the next request opens another, without them it gets 500."""
    old, new = start("config.yaml"), start("config.yaml")
    service = Handover(old.port)
    with served(service.port, GUNICORN_THREADS="1", DB_CONN_HEALTH_CHECKS=checks) as gunicorn:
        assert gunicorn.request("/connection/")[0] == 200
        service.lead(new.port)
        old.leash.signal(SIGTERM)
        until("it takes nobody new", lambda: not connects(old.port))
        assert not old.leash.ended()
        old.leash.halt(SIGKILL)
        assert gunicorn.request("/connection/")[0] == expected
    service.stop()


@control(here("old.leash.halt(SIGKILL)", "pass"))
def test_whoever_is_in_a_query_when_the_grace_ends_gets_an_error(start, served, setup) -> None:
    """SIGKILL during a request's query makes that request return 500."""
    old = start("config.yaml")
    with served(old.port) as gunicorn:
        with deployed.under_way(gunicorn, setup) as request:
            old.leash.signal(SIGTERM)
            old.leash.halt(SIGKILL)
        assert request.result()[0] == 500


@control(edit("kubernetes/pgbouncer.yaml", "terminationGracePeriodSeconds: 120", "terminationGracePeriodSeconds: 60"))
@control(edit("kubernetes/app.yaml", "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 30"))
def test_the_grace_holds_prestop_the_age_of_a_connection_and_the_longest_request(load, project) -> None:
    """terminationGracePeriodSeconds covers preStop, graceful_timeout and, for PgBouncer, also CONN_MAX_AGE."""
    checked(CENTRAL, load)
    code = """
from runpy import run_path
from django.conf import settings
print(settings.DATABASES["default"]["CONN_MAX_AGE"])
print(run_path("gunicorn.conf.py")["graceful_timeout"])
"""
    url = "postgresql://upstream@127.0.0.1/upstream"
    ended, said = project.run("-c", code, database_url=url, DJANGO_SETTINGS_MODULE="settings.prod")
    assert ended == 0, said
    age, graceful = map(int, said.split())
    for of, needs in ((pods(load), age + graceful), (deploy(load), graceful)):
        slept = of.get(*container("containers"), "lifecycle", "preStop", "sleep", "seconds")
        assert of.get(*kubernetes.POD, "terminationGracePeriodSeconds") >= slept + needs, of.path


# ---- the sidecar ---------------------------------------------------------------------------------------------


@control(here("tell_to_stop(gunicorn)", "bouncer.leash.halt(); tell_to_stop(gunicorn)"))
def test_a_native_sidecar_serves_until_the_application_has_ended(start, served, setup, load) -> None:
    """Stopped first, the application finishes its request through PgBouncer, which then exits on its own SIGTERM."""
    bouncer = start("sidecar-config.yaml")
    with served(bouncer.port) as gunicorn:
        gunicorn.note()
        with deployed.under_way(gunicorn, setup) as request:
            tell_to_stop(gunicorn)
        assert request.result()[0] == 200
        until("the application has ended", gunicorn.ended)
        assert not bouncer.leash.ended()
        bouncer.leash.signal(SIGTERM)
        until("PgBouncer has ended", bouncer.leash.ended)
    patched(load)
    evidence.ran(load(PATCH), "started")


@control(here("tell_to_stop(gunicorn)", "bouncer.leash.signal(SIGTERM); tell_to_stop(gunicorn)"))
def test_a_native_sidecar_serves_a_request_that_then_needs_a_new_connection(start, served, setup) -> None:
    """A request queued before SIGTERM, which then opens a new connection, is served before the application exits."""
    bouncer = start("sidecar-config.yaml")
    with served(bouncer.port, GUNICORN_THREADS="1", DB_CONN_MAX_AGE="0") as gunicorn:
        with deployed.under_way(gunicorn, setup) as request:
            waiting = deployed.queued(gunicorn)
            tell_to_stop(gunicorn)
        assert (request.result()[0], waiting.result()[0]) == (200, 200)
        until("the application has ended", gunicorn.ended)
