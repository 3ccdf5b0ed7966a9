"""Let the server end a session that is idle for too long.

Prints the error that the next query gets from each driver.
"""

import os
import time

import psycopg
import psycopg2

url = os.environ["DATABASE_URL"]

for driver in (psycopg, psycopg2):
    victim = driver.connect(url, options="-c idle_session_timeout=50ms")
    victim.autocommit = True
    cursor = victim.cursor()
    with psycopg.connect(url, autocommit=True) as other:
        alive = "select count(*) from pg_stat_activity where pid = %s"
        while other.execute(alive, [victim.info.backend_pid]).fetchone() != (
            0,
        ):
            time.sleep(0.01)
    try:
        cursor.execute("select 1")
    except driver.Error as error:
        print(f"{driver.__name__} {type(error).__name__}: {error}")
    victim.close()
