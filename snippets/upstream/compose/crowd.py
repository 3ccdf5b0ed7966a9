"""Connect many clients, let all of them query at once, and count the outcomes.

python crowd.py DATABASE_URL 120
"""

import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

variable, size = sys.argv[1], int(sys.argv[2])
password = Path(os.environ[variable.replace("_URL", "_PASSWORD_FILE")])
heard: Counter[str] = Counter()


def connect(_: int) -> psycopg.Connection | None:
    try:
        return psycopg.connect(
            os.environ[variable],
            password=password.read_text(),
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.OperationalError as error:
        heard[str(error).rpartition("FATAL:")[2].strip()] += 1
        return None


def ask(connection: psycopg.Connection) -> None:
    connection.execute("select pg_sleep(1)")
    heard["answered"] += 1


with ThreadPoolExecutor(size) as clients:
    crowd = list(filter(None, clients.map(connect, range(size))))
    list(clients.map(ask, crowd))

print(f"{size} clients of {urlsplit(os.environ[variable]).hostname}:")
for text, times in heard.most_common():
    print(f"{times:>5} × {text}")
