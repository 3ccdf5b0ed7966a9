"""Open connections until the server refuses one.

It takes every slot there is: give it a server that nothing else uses.
"""

import os

import psycopg

connections: list[psycopg.Connection] = []
try:
    while True:
        connections.append(psycopg.connect(os.environ["DATABASE_URL"]))
except psycopg.OperationalError as error:
    print(f"{len(connections)} connections, then:")
    print(str(error).rpartition("failed: ")[2])
finally:
    for connection in connections:
        connection.close()
