"""Measure how many requests per second each of your views answers.

CLIENTS=8 REQUESTS=200 METHOD=POST python throughput.py https://… https://…
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit


def ask(address: str) -> float:
    """Send one request, and return how many seconds its answer took."""
    begun = time.monotonic()
    url = urlsplit(address)
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.netloc, timeout=60)
    target = f"{url.path}?{url.query}" if url.query else url.path
    connection.request(os.environ.get("METHOD", "GET"), target)
    status = connection.getresponse().status
    connection.close()
    if status >= 400:
        raise SystemExit(f"{address} answered {status}")
    return time.monotonic() - begun


def measure(address: str, clients: int, requests: int) -> str:
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(ask, [address] * clients))  # now all are connected
        alone = ask(address)
        begun = time.monotonic()
        list(threads.map(ask, [address] * requests))
        rate = requests / (time.monotonic() - begun)
    many = f"{rate:6.1f} requests per second"
    return f"{many}, {alone:.2f} s for a single request: {address}"


if __name__ == "__main__":
    clients = int(os.environ.get("CLIENTS", "8"))
    requests = int(os.environ.get("REQUESTS", "200"))
    print(f"{clients} clients, {requests} requests to each view")
    for address in sys.argv[1:]:
        print(measure(address, clients, requests))
