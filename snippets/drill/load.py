"""Have clients send queries for a while, and count the outcomes.

DATABASE_URL=postgresql://… SECONDS=60 python load.py
"""

import os
import threading
from collections import Counter

import psycopg

QUERY = "select pg_sleep(0.01)"  # as long as a short request


def connect(url: str) -> psycopg.Connection:
    """Connect as Django does: nothing is prepared on the server."""
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)


def client(url: str, stopped: threading.Event, heard: Counter[str]) -> None:
    """Query like a Django thread, on one connection until it fails."""
    connection = None
    while not stopped.is_set():
        try:
            connection = connection or connect(url)
            connection.execute(QUERY)
            heard["answered"] += 1
        except psycopg.Error as error:
            heard[str(error).splitlines()[-1]] += 1
            if connection:
                connection.close()
            connection = None
            stopped.wait(0.01)  # do not retry at once
    if connection:
        connection.close()


def start(
    url: str, clients: int, stopped: threading.Event, heard: Counter[str]
) -> list[threading.Thread]:
    threads = [
        threading.Thread(target=client, args=(url, stopped, heard))
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    return threads


def report(heard: Counter[str]) -> str:
    lines = [f"{times:>7} × {text}" for text, times in heard.most_common()]
    return "\n".join(lines)


if __name__ == "__main__":
    stopped = threading.Event()
    heard: Counter[str] = Counter()
    threads = start(os.environ["DATABASE_URL"], 4, stopped, heard)
    stopped.wait(float(os.environ.get("SECONDS", "60")))
    stopped.set()
    for thread in threads:
        thread.join()
    print(report(heard))
