"""Open Django's pool, fork, and see which connections the child has.

Run it in the example project, with DATABASE_URL in the environment; with
--fixed it closes the pool before the fork.
"""

import os
import sys
from threading import Thread

import django
from django.conf import settings
from environ import Env

named = Env.db_url_config(os.environ["DATABASE_URL"])
pool = {"min_size": 1, "max_size": 4, "timeout": 3}
settings.configure(DATABASES={"default": {**named, "OPTIONS": {"pool": pool}}})
django.setup()

from django.db import OperationalError, connection, connections  # noqa: E402
from django.db.backends.postgresql.base import DatabaseWrapper  # noqa: E402

if "--fixed" in sys.argv:
    from orders import forks  # noqa: F401


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]


def second_thread() -> None:
    try:
        backend()
        print("child: a second thread gets one too")
    except OperationalError as error:
        print(f"child: a second thread: {error}")


default = connections["default"]
assert isinstance(default, DatabaseWrapper)
default.pool.open(wait=True)
parents = backend()
connection.close()  # it goes back into the pool
child = os.fork()
if child == 0:
    same = backend() == parents
    whose = "the parent's" if same else "its own"
    print(f"child: {whose} backend")
    thread = Thread(target=second_thread)
    thread.start()
    thread.join()
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
