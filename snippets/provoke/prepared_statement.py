"""Use named prepared statements through a pool that does not track them.

Prints what happens to two clients that share server connections.
"""

import os

import psycopg

url = os.environ["DATABASE_URL"]


def client() -> psycopg.Connection:
    connection = psycopg.connect(url, autocommit=True)
    connection.prepare_threshold = 0  # prepare from the first execution on
    return connection


def execute(name: str, connection: psycopg.Connection) -> None:
    try:
        connection.execute("select 1 as one")
        print(f"{name}: works")
    except psycopg.Error as error:
        print(f"{name}: {type(error).__name__} {error.sqlstate}: {error}")


first, second = client(), client()
execute("first", first)  # prepares _pg3_0 on the only server connection
execute("second", second)  # would prepare a _pg3_0 of its own there

with psycopg.connect(url) as holder:
    holder.execute("select 2")  # takes that server connection away
    execute("first", first)  # gets a new one instead

first.close()
second.close()
