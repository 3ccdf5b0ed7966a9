"""Open connections until PgBouncer refuses one.

Give it a PgBouncer with a small max_client_conn and no other clients.
"""

import os

import psycopg

clients: list[psycopg.Connection] = []
try:
    while True:
        clients.append(psycopg.connect(os.environ["DATABASE_URL"]))
except psycopg.OperationalError as error:
    print(f"{len(clients)} connections, then:")
    print(str(error).rpartition("failed: ")[2])
finally:
    for client in clients:
        client.close()
