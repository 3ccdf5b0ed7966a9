"""Ask for a server connection while another client holds the only one.

PgBouncer needs default_pool_size = 1 and a short query_wait_timeout here.
"""

import os

import psycopg
import psycopg2

url = os.environ["DATABASE_URL"]

holder = psycopg.connect(url, application_name="holder")
holder.execute("select 1")  # its transaction stays open

for driver in (psycopg, psycopg2):
    client = driver.connect(url)
    try:
        client.cursor().execute("select 1")
    except driver.Error as error:
        print(f"{driver.__name__} {type(error).__name__}: {error}")
    client.close()

holder.close()
