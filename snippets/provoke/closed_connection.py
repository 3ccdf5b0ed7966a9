"""Lose a connection while it is idle.

Prints the error that the next query gets from each driver.
"""

import os

import psycopg
import psycopg2

url = os.environ["DATABASE_URL"]

for driver in (psycopg, psycopg2):
    victim = driver.connect(url)
    cursor = victim.cursor()
    cursor.execute("select pg_backend_pid()")
    # Ended by another, as in a failover. A role may end its own sessions.
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(%s, 5000)", cursor.fetchone()
        )
    try:
        cursor.execute("select 1")
    except driver.Error as error:
        print(f"{driver.__name__} {type(error).__name__}: {error}")
    victim.close()
