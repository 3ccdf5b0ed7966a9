"""Query a server that PgBouncer cannot reach, three times.

Prints the error of the first attempt, and then that of each driver.
"""

import os

import psycopg
import psycopg2

url = os.environ["DATABASE_URL"]

for driver in (psycopg, psycopg, psycopg2):
    client = driver.connect(url)
    try:
        client.cursor().execute("select 1")
    except driver.OperationalError as error:
        print(f"{driver.__name__} {type(error).__name__}: {error}")
    client.close()
