"""Fork with a connection open, and see whose answer the parent gets.

Run it in the example project, with DATABASE_URL and DJANGO_SETTINGS_MODULE in
the environment; with --fixed it closes the connection before the fork.
"""

import multiprocessing
import sys
import time

import django

django.setup()

from django.db import connection, connections  # noqa: E402

if "--fixed" in sys.argv:
    from orders import forks  # noqa: F401


def ask(whose: str, source: str = "") -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"select %s {source}", [whose])
        return cursor.fetchone()[0]


def waits() -> bool:
    with other.cursor() as cursor:
        cursor.execute(
            "select from pg_stat_activity "
            "where datname = current_database() and wait_event = 'advisory'"
        )
        return cursor.fetchone() is not None


ask("the first answer")

# A child queries, and is killed while it waits, as by Gunicorn's timeout.
other = connections.create_connection("default")
other.cursor().execute("select pg_advisory_lock(1)")
fork = multiprocessing.get_context("fork")
question = ("the child's answer", "from pg_advisory_lock(1)")
child = fork.Process(target=ask, args=question)
child.start()
while not waits():
    time.sleep(0.01)
child.kill()
child.join()
other.close()  # lets PostgreSQL answer the child

print("parent gets", ask("the parent's answer"))
