"""Whose answer a process gets that was forked while a connection was open.

The application opens a connection while it is loaded. Of the processes that are forked then, one is killed while it
waits for an answer, and another one asks meanwhile: if they share the connection, it is given what the first had asked.
"""

from collections.abc import Callable
from dataclasses import replace
from os import kill
from signal import SIGKILL

from tests.stack.runners import RUNNERS, Runner, Running, uwsgi
from tests.stack.wait import until

# Those that fork a process for their work, and uWSGI as it is without `lazy-apps`.
FORKING = {
    **{name: RUNNERS[name] for name in ("sync", "preload", "uwsgi")},
    "uwsgi-early": replace(RUNNERS["uwsgi"], kind="as it is", starts=uwsgi("--processes", "3")),
    **{name: RUNNERS[name] for name in ("celery-prefork", "celery55-prefork", "rq", "multiprocessing")},
}
# Each process asks for its own number, from a table that is locked. Health checks would ask before it.
SETTINGS = """
import os
from django.apps import AppConfig
from django.db import connection
from django.db.backends.utils import CursorWrapper

DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
INSTALLED_APPS = [*INSTALLED_APPS, f"{__name__}.Loaded"]
heard = os.open(os.path.join(os.path.dirname(__file__), "heard"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
execute = CursorWrapper.execute

def asks(self, sql, params=None):
    if "orders_order" in sql:
        driver = self.db.connection.pgconn
        driver.send_query(b"select %d from orders_order having count(*) >= 0" % os.getpid())
        os.write(heard, b"%d asks\\n" % os.getpid())
        while answer := driver.get_result():
            os.write(heard, b"%d gets %s\\n" % (os.getpid(), answer.get_value(0, 0)))
    return execute(self, sql, params)

class Loaded(AppConfig):
    name = __package__

    def ready(self):
        {module}
        CursorWrapper.execute = asks
        connection.ensure_connection()
"""


def answer(run_in: Callable[..., Running], runner: Runner, *, module: bool = False, strategy: str = "age-60") -> str:
    """Return "right" or "wrong": what a process is given as it is, or with the guide's module imported."""
    running = run_in(runner, strategy, SETTINGS.replace("{module}", "from orders import forks" if module else ""))

    def heard(what: str) -> list[list[str]]:
        file = running.folder / "heard"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if what in line]

    with running.holder.transaction():
        running.holder.execute("lock table orders_order in access exclusive mode")
        running.give(1)
        until("one process waits for its answer", lambda: heard("asks") and running.waiting())
        kill(int(heard("asks")[0][0]), SIGKILL)
        running.give(1)
        until("another process asks", lambda: len(heard("asks")) == 2)
    until("a process gets an answer", lambda: heard("gets"))
    running.note()
    process, _, given = heard("gets")[0]
    return "right" if process == given else "wrong"
