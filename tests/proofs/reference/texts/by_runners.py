"""What Gunicorn, uWSGI and Celery log about their workers. A function returns it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from setup.others import packages
from tests.proofs.reference.texts.bench import HERE, Bench
from tests.stack.runners import gunicorn, uwsgi
from tests.stack.wait import free_port, until

GUNICORN = (gunicorn("--timeout", "1", "wsgi"), "Booting worker")  # what starts it, and what it logs then
UVICORN = (
    ("-m", "uvicorn", "--port", "{port}", "--interface", "wsgi", "--workers", "2", "wsgi:application"),
    "Application startup complete",
)
UWSGI = (uwsgi("--die-on-term", "--harakiri", "1"), "spawned uWSGI worker")


def worker(
    body: str,
    said: str,
    *options: str,
    imports: str = "os, time",
    by: tuple[tuple[str, ...], str] = GUNICORN,
    requests: int = 1,
) -> Callable[[Bench | None], str]:
    """Let Gunicorn, or another, serve requests whose code is `body`, until it says something about its worker.

    Its imports are done before the requests, whose time is limited.
    """

    def serve(_: Bench | None) -> str:
        with TemporaryDirectory() as folder:
            Path(folder, "wsgi.py").write_text(f"import {imports}\ndef application(environ, start):\n    {body}\n")
            log, port = Path(folder, "log"), free_port()
            begin, ready = by
            command = [sys.executable, *(part.format(port=port) for part in begin), *options]
            environment = {**os.environ, "HOME": folder, "PYTHONPATH": f"{folder}:{packages('runners')}"}
            with log.open("w") as file:
                process = subprocess.Popen(command, cwd=folder, stderr=file, env=environment)
            try:
                until("it listens", lambda: ready in log.read_text())
                with ExitStack() as clients:
                    for _request in range(requests):
                        client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    until("it says so", lambda: said in log.read_text())
                return log.read_text()
            finally:
                process.terminate()
                process.wait()

    return serve


def lost_process(_: Bench) -> str:
    """Let a process of the pool that Celery uses exit during its work."""
    code = """if True:
        import os, billiard.pool, billiard.util
        billiard.util.log_to_stderr(40)
        billiard.pool.Pool(1, lost_worker_timeout=0.1).apply_async(os._exit, (5,)).get()
    """
    environment = {**os.environ, "PYTHONPATH": str(packages("runners"))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stderr


def wrapped(bench: Bench) -> str:
    """Let Procrastinate send a query that PostgreSQL refuses."""
    code = f"""if True:
        import procrastinate
        connector = procrastinate.SyncPsycopgConnector(conninfo={bench.url(HERE)!r})
        with procrastinate.App(connector=connector).open():
            connector.execute_query("select 1/0")
    """
    environment = {**os.environ, "PYTHONPATH": str(packages("workers"))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stderr


# Which program says it, and how it is made to.
TEXTS: dict[str, tuple[str, Callable[[Bench], Any]]] = {
    "WORKER TIMEOUT": ("Gunicorn", worker("time.sleep(30)", "WORKER TIMEOUT")),
    "Worker (pid:…) was sent SIGKILL! Perhaps out of memory?": (
        "Gunicorn",
        worker("os.kill(os.getpid(), 9)", "was sent"),
    ),
    "HARAKIRI ON WORKER …": (
        "uWSGI",
        worker("time.sleep(30)", "HARAKIRI ON WORKER", by=UWSGI),
    ),
    "Child process […] died": ("uvicorn", worker("os.kill(os.getpid(), 9)", "died", by=UVICORN)),
    "DAMN ! worker … (pid: …) died… trying respawn": (
        "uWSGI",
        worker("os.kill(os.getpid(), 9)", "trying respawn", by=UWSGI),
    ),
    "Worker (pid:…) was sent SIGSEGV!": ("Gunicorn", worker("os.kill(os.getpid(), 11)", "was sent")),
    "uWSGI listen queue of socket … full": (
        "uWSGI",
        worker("time.sleep(30)", "listen queue of socket", "--listen", "1", by=UWSGI, requests=3),
    ),
    "Worker failed to boot": (
        "Gunicorn",
        worker("pass", "failed to boot", imports="not_there", requests=0),
    ),
    "ConnectorException: Database error": ("Procrastinate", wrapped),
    "Worker exited prematurely: …": ("Celery", lost_process),
    "Process '…' pid:… exited with …": ("Celery", lost_process),
    "Worker (pid:…) exited with code …": ("Gunicorn", worker("os._exit(5)", "exited with")),
}
