"""Ask PgBouncer for a server that it cannot reach, twice.

Prints what each driver gets to hear once PgBouncer has given up trying.
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
