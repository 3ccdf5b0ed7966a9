"""Proves docs/how-to/cloud-run.md: the files against Google's descriptions, and the instance as real processes."""

import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from signal import SIGTERM

import psycopg
import pytest

from proven import evidence
from proven.problems import Problem
from proven.sources import snippets
from proven.sources.controls import control, each, edit, here
from tests.lint import cloud_run, gcloud, google, manifests
from tests.lint.findings import refuse
from tests.proofs import deployed
from tests.proofs.deployed import connects, tell_to_stop
from tests.proofs.pooled import BURST, a_day_of, settings_of
from tests.stack.upstream import serving
from tests.stack.wait import DEADLINE, until

FOLDER = "cloud/run"
SERVICE, BUILD, DEPLOY, SECRETS, INI = (
    f"{FOLDER}/{name}" for name in ("service.yaml", "cloudbuild.yaml", "deploy.sh", "secrets.sh", "pgbouncer.ini")
)
SIZING = "sizing/connections.py"
DESCRIBED = {SERVICE: "run.v1", BUILD: "cloudbuild.v1"}  # the Google API whose description covers it
FLAGS = f"the flags that gcloud completes, {gcloud.KNOWN['version']}"
UNKNOWN = "You do not currently have an active account selected"  # what gcloud says once it has parsed everything


@pytest.fixture
def start(setup, load):
    """Start a PgBouncer with the ini of the service: start(default_pool_size=1)."""
    setup.note()
    with ExitStack() as started:

        def one(**settings):
            bouncer = deployed.start(setup, load(INI), load(INI), **settings)
            started.callback(bouncer.stop)
            return bouncer

        yield one


@pytest.fixture
def served(setup, tables, project, load):  # noqa: ARG001  (they are there)
    """Serve the application with its environment in service.yaml: served(port)."""

    def by(port: int, **settings: str):
        app = container(load, "app")
        address, found = deployed.environment(app["env"], setup, port)
        options = cloud_run.variables(app)["GUNICORN_CMD_ARGS"]
        evidence.ran(load(SERVICE), "started")
        return serving(project, address, options, **{**found, "GUNICORN_WORKERS": "1", **settings})

    return by


def service(load) -> manifests.Document:
    """Return the service."""
    snippet = load(SERVICE)
    (document,) = manifests.documents(snippet.place, snippet.text)
    return document


def container(load, name: str) -> dict:
    """Return one of its containers."""
    return cloud_run.containers(service(load))[name][1]


# ---- what Google describes, and what agrees ------------------------------------------------------------------


@control(
    each("cloud/run/service.yaml", but={"it is the version of your secret": ["*.volumes.*.items.0.key"]}),
    fails_with="KeyError",
)
@control(
    each(
        "cloud/run/cloudbuild.yaml",
        but={
            "nothing refers to it": ["steps.*.id"],
            "another version of the builder does the same": ["steps.*.name"],
            "it is yours to name": ["substitutions._BUILDER"],
            "it is yours to choose": ["timeout"],
        },
    )
)
@control(each("cloud/run/pgbouncer.ini", {"*max_db_connections": "3", "*max_client_conn": "3"}))
@control(edit("cloud/run/service.yaml", "containerPort: 8080", "containerPort: 8081"))
@control(edit("cloud/run/service.yaml", "timeoutSeconds: 30", "timeoutsSeconds: 30"))
@control(edit("cloud/run/service.yaml", "cpu-throttling", "cpu-throttled"))
@control(edit("cloud/run/deploy.sh", "--no-cpu-throttling", "--no-cpu-throttle"))
def test_the_files_of_the_service_are_what_google_describes_and_agree(load) -> None:
    """Every field, annotation and flag is known; names, ports, secrets, addresses and images agree."""
    checked(load, SERVICE, BUILD, DEPLOY, SECRETS)
    files = {s.place: s.text for s in (*map(load, (SERVICE, BUILD, DEPLOY, SECRETS)), snippets.read(INI))}
    refuse(in_source(problem) for problem in cloud_run.problems(files))


def checked(load, *paths: str) -> None:
    """Record what files are compared with: the description of Google's API, or gcloud's flags."""
    for path in paths:
        against = google.api(DESCRIBED[path]).name if path in DESCRIBED else FLAGS
        evidence.ran(load(path), "checked", against=against)


def in_source(problem: Problem) -> Problem:
    """Return a problem at its line in the file, which has region markers."""
    snippet = snippets.read(problem.path.removeprefix("snippets/"))
    return Problem(problem.path, snippet.source_line(problem.line), problem.message)


@control(edit("cloud/run/deploy.sh", "--concurrency=8", "--concurrency=80"))
@control(edit("cloud/run/service.yaml", "port: 6432", "port: 6433"))
@control(edit("cloud/run/deploy.sh", "run deploy upstream", "run deploy another"))
@control(edit("cloud/run/service.yaml", 'cpu-throttling: "false"', 'cpu-throttling: "true"'))
@control(edit("cloud/run/service.yaml", '"1"\n                path: ca.crt', '"2"\n                path: ca.crt'))
def test_the_flags_make_the_same_service_as_the_file(load) -> None:
    """The file, converted to flags, has exactly the flags of the script, with the same values."""
    checked(load, SERVICE, DEPLOY)
    said = cloud_run.said(load(DEPLOY).text)
    assert list(said) == ["", "app", "pgbouncer"]
    assert said == cloud_run.flags(service(load))
    # What that conversion assumes about the file, or leaves out of the script.
    of = service(load)
    assert f"gcloud run deploy {of.get('metadata', 'name')} " in load(DEPLOY).text
    assert {secret["items"][0]["key"] for _, secret in of.find("secret")} == {"1"}
    annotations = of.get(*cloud_run.TEMPLATE, "metadata", "annotations")
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"


@pytest.fixture
def installed(tmp_path):
    """Run gcloud, or a script with it, without an account: installed("run", …)."""
    if not shutil.which("gcloud"):
        pytest.skip("needs gcloud")
    quiet = {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false"}
    quiet["CLOUDSDK_CORE_DISABLE_USAGE_REPORTING"] = "true"
    environment = {"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_PROJECT": "p", **quiet}

    def run(*command: str):
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)

    return run


@control(edit("cloud/run/deploy.sh", "--depends-on=", "--depending-on="))
def test_gcloud_reads_the_file_and_the_script_and_stops_at_the_login(installed, load, tmp_path) -> None:
    """Without an account gcloud accepts both and asks for a login; a flag that it lacks it refuses before that."""
    evidence.ran(load(SERVICE), "checked", against=f"gcloud run services replace, {gcloud.KNOWN['version']}")
    evidence.ran(load(DEPLOY), "checked", against=f"gcloud run deploy, {gcloud.KNOWN['version']}")
    (tmp_path / "service.yaml").write_text(load(SERVICE).text)
    assert UNKNOWN in installed("gcloud", "run", "services", "replace", "service.yaml", "--region=us-central1").stderr
    assert UNKNOWN in installed("sh", "-c", load(DEPLOY).text).stderr
    for flag in ("--sidecar-image", "--sidecar-env-vars"):
        refused = installed("sh", "-c", load(DEPLOY).text.replace("--depends-on=", f"{flag}=")).stderr
        assert f"unrecognized arguments: {flag}=pgbouncer" in refused
        assert UNKNOWN not in refused


# ---- the configuration, started ------------------------------------------------------------------------------


@control(edit("cloud/run/pgbouncer.ini", "default_pool_size = 4", "default_pool_size = 04"))
def test_pgbouncer_starts_with_the_mounted_file(start, setup, load) -> None:
    """SHOW CONFIG has each setting as written, except those that tie it to Cloud Run, and a client is served."""
    deployed.in_effect(start(), load(INI).text, setup.database)


@control(edit("cloud/run/service.yaml", "upstream@10.20.0.3", "upstream:other@10.20.0.3"))
@control(edit("cloud/run/service.yaml", "name: upstream-password", "name: django-secret-key"))
def test_the_service_gets_its_password_from_the_secrets(start, setup, project, load, tmp_path) -> None:
    """Django gets what secrets.sh creates, by the names in service.yaml: its key, and the password of both connections.

    A script in place of gcloud keeps what each secret would hold. None holds the console's login.
    """
    stand_in = tmp_path / "gcloud"
    stand_in.write_text('#!/bin/sh\ntest "$2" != create || cat >"$3" "${4#--data-file=}"\n')
    stand_in.chmod(0o755)
    (tmp_path / "userlist.txt").write_text("".join(f'"{name}" "{secret}"\n' for name, secret in setup.users.items()))
    for name in ("pgbouncer.ini", "ca.crt"):
        (tmp_path / name).touch()
    passwords = {"UPSTREAM_PASSWORD": setup.roles["upstream"].password, "DJANGO_SECRET_KEY": "the key"}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **passwords}
    subprocess.run(["sh", "-c", load(SECRETS).text], cwd=tmp_path, env=environment, check=True)
    evidence.ran(load(SECRETS), "checked", against=FLAGS)
    evidence.ran(load(SERVICE), "started")
    assert '"upstream"' in (tmp_path / "pgbouncer-users").read_text()
    assert "pgbouncer_admin" not in (tmp_path / "pgbouncer-users").read_text()
    variables = container(load, "app")["env"]
    mounted = {of["name"]: of["valueFrom"]["secretKeyRef"]["name"] for of in variables if "valueFrom" in of}
    given = {name: (tmp_path / secret).read_text() for name, secret in mounted.items()}
    deployed.gets_in(setup, project, start(), variables, given)


@control(edit("cloud/run/pgbouncer.ini", "server_tls_sslmode = verify-full", "server_tls_sslmode = require"))
@control(edit("cloud/run/service.yaml", "value: verify-full", "value: prefer"))
@pytest.mark.parametrize("whose", ["ours", "others"])
def test_both_ways_to_postgresql_are_verified_with_the_files_of_the_service(secured, project, load, whose) -> None:
    """PgBouncer's connection and the direct one are encrypted; with another CA's ca.crt both fail."""
    setup, authorities = secured
    evidence.ran(load(SERVICE), "started")
    variables = container(load, "app")["env"]
    deployed.verified(setup, project, load(INI), load(INI), variables, authorities, whose)


# ---- the instance --------------------------------------------------------------------------------------------


@control(edit("cloud/run/service.yaml", '{"app": ["pgbouncer"]}', '{"pgbouncer": ["app"]}'))
def test_the_application_starts_when_pgbouncers_probe_has_passed(start, served, load) -> None:
    """As the dependencies order it, on one 127.0.0.1, PgBouncer starts, its probe passes, the application serves."""
    assert cloud_run.dependencies(service(load)) == {"app": ["pgbouncer"]}
    assert list(container(load, "pgbouncer")["startupProbe"]["tcpSocket"]) == ["port"]
    bouncer = start()
    until("the probe passes", lambda: connects(bouncer.port))
    with served(bouncer.port) as gunicorn:
        assert gunicorn.request("/orders/")[0] == 200
        gunicorn.note()


@control(edit("cloud/run/pgbouncer.ini", "max_client_conn = 100", "max_client_conn = 10"))
def test_the_files_of_the_service_together_serve_a_day_of_bursts_and_restarts(start, served, setup) -> None:
    """With the mounted ini and the application's environment, every login is served, and so are requests."""
    bouncer = start()
    with served(bouncer.port) as gunicorn:
        assert a_day_of(gunicorn, bouncer, setup.database) == (200, {"upstream": 4 * BURST}, 200)


@control(edit("upstream/orders/views.py", 'latest = Order.objects.values("id", "customer")[:20]', "latest = []"))
def test_an_application_that_starts_first_fails_its_requests(served) -> None:
    """With nothing listening on PgBouncer's port, the first request gets 500."""
    port = 1  # nobody's: a free one may be another test's by then
    assert not connects(port)
    with served(port) as gunicorn:
        gunicorn.note()
        assert gunicorn.request("/orders/")[0] == 500


@control(here("bouncer.leash.signal(SIGTERM)", "bouncer.leash.halt()"))
def test_a_request_is_finished_when_both_are_told_to_stop(start, served, setup) -> None:
    """After SIGTERM to PgBouncer and Gunicorn at once, the request is answered, and then both exit by themselves."""
    bouncer = start()
    with served(bouncer.port) as gunicorn:
        gunicorn.note()
        with deployed.under_way(gunicorn, setup) as request:
            bouncer.leash.signal(SIGTERM)
            tell_to_stop(gunicorn)
        assert request.result()[0] == 200
        until("both have ended", lambda: gunicorn.ended() and bouncer.leash.ended())


@control(here("bouncer.leash.signal(SIGTERM)", "pass"))
@pytest.mark.parametrize(("age", "status"), [("0", 500), ("1", 500), ("60", 200)], ids=["none kept", "too old", "kept"])
def test_a_request_that_then_needs_a_new_connection_fails(start, served, setup, age, status) -> None:
    """PgBouncer accepts no new client after SIGTERM: a queued request gets 500, unless a connection is kept."""
    bouncer = start()
    with served(bouncer.port, GUNICORN_THREADS="1", DB_CONN_MAX_AGE=age) as gunicorn:
        with deployed.under_way(gunicorn, setup) as request:
            began = time.monotonic()
            waiting = deployed.queued(gunicorn)
            bouncer.leash.signal(SIGTERM)
            tell_to_stop(gunicorn)
            until("what is kept is older than a second", lambda: time.monotonic() - began > 1.1)
        assert (request.result()[0], waiting.result()[0]) == (200, status)


# ---- how many connections ------------------------------------------------------------------------------------


@control(here("[start() for _ in range(3)]", "[start()] * 3"), fails_with="query_wait_timeout")
def test_each_sidecar_has_a_pool_of_its_own(start, setup, load, run_script) -> None:
    """Three of them open three times the pool size, as the function says, and not one more."""
    size = int(settings_of(load(INI).text)["default_pool_size"])
    bouncers = [start() for _ in range(3)]
    until("the sessions of the proof before are gone", lambda: not setup.database.backends())
    with ExitStack() as clients:
        for bouncer in bouncers:
            for _ in range(size):
                clients.enter_context(bouncer.connect(setup.database, autocommit=False)).execute("select 1")
            one_more = clients.enter_context(bouncer.connect(setup.database))
            with bouncer.impatient(), pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
                one_more.execute("select 1")
        opened = len(setup.database.backends())
    assert opened == run_script(load(SIZING))["pooled_connections"](size, poolers=3) == 3 * size


@control(edit("cloud/run/pgbouncer.ini", "max_db_connections = 4", "max_db_connections = 104"))
def test_an_instance_stays_below_googles_limit(load) -> None:
    """PgBouncer's server connections, and one past it for each thread, are fewer than 100 per instance."""
    app = cloud_run.variables(container(load, "app"))
    pooled = int(settings_of(snippets.read(INI).text)["max_db_connections"])
    evidence.ran(load(SERVICE), "checked", against=google.api("run.v1").name)
    assert pooled + int(app["GUNICORN_WORKERS"]) * int(app["GUNICORN_THREADS"]) < 100


@control(edit("cloud/run/service.yaml", 'maxScale: "20"', 'maxScale: "30"'))
@control(edit("sizing/connections.py", "web * 2,", "web * 3,"))
@control(edit("sizing/connections.py", "{processes} × {threads}", "{threads} × {threads}"))
def test_the_table_has_the_numbers_of_the_service(load, run_script) -> None:
    """Instances, threads and pools are those in service.yaml and in both PgBouncers' settings, in a deploy too."""
    evidence.ran(load(SERVICE), "checked", against=google.api("run.v1").name)
    names = run_script(load(SIZING))
    app = cloud_run.variables(container(load, "app"))
    instances = int(cloud_run.flags(service(load))[""]["max-instances"])
    processes, threads = int(app["GUNICORN_WORKERS"]), int(app["GUNICORN_THREADS"])
    pool = int(settings_of(snippets.read(INI).text)["default_pool_size"])
    none, beside, central = names["worked_poolers"]()
    web, beside_each = instances * processes * threads, pool * instances
    assert [*none.values()] == [f"None: {instances} instances with {processes} × {threads}", web, 2 * web]
    name = f"Beside each of {instances} instances, a pool of {pool}"
    assert [*beside.values()] == [name, beside_each, 2 * beside_each]
    (config,) = manifests.documents("", snippets.read("kubernetes/config.yaml").text)
    large = int(settings_of(config.get("data", "pgbouncer.ini"))["default_pool_size"])
    replicas = manifests.documents("", snippets.read("kubernetes/pgbouncer.yaml").text)[0].get("spec", "replicas")
    assert set(central.values()) == {"Two for everybody, a pool of 20", large * replicas}
    assert (large, replicas) == (20, 2)
