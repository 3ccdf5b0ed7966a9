"""Connect with a setting in the startup packet, as `options` sends it."""

import os

import psycopg

url = os.environ["DATABASE_URL"]
try:
    psycopg.connect(url, options="-c statement_timeout=5000").close()
except psycopg.OperationalError as error:
    print(str(error).rpartition("failed: ")[2])
