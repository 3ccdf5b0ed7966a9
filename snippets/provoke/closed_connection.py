"""Lose a connection in each way that a server can take it away, and print what psycopg 3 and psycopg2 say."""

import os
import sys

import psycopg
import psycopg2

url = os.environ["DATABASE_URL"]
by_driver = {"psycopg 3": psycopg, "psycopg2": psycopg2}

for name, driver in by_driver.items():
    connection = driver.connect(url)
    cursor = connection.cursor()
    cursor.execute("select pg_backend_pid()")
    (pid,) = cursor.fetchone()
    # What happens here is up to you: end the backend, restart the server, unplug the network.
    print(pid, flush=True)
    sys.stdin.readline()
    try:
        cursor.execute("select 1")
    except (psycopg.Error, psycopg2.Error) as error:
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
