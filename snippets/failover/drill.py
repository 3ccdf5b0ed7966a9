"""Send requests to your service during a drill, and count the outcomes.

BODY="customer=drill" SECONDS=60 python drill.py https://…/orders/
"""

import os
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import urlsplit

RATE = float(os.environ.get("RATE", "4"))  # requests a second
SECONDS = float(os.environ.get("SECONDS", "60"))
PATIENCE = float(os.environ.get("PATIENCE", "10"))  # seconds, like a proxy's
BODY = os.environ.get("BODY", "")  # what a form sends; without it, a GET


class Heard(NamedTuple):
    began: float
    ended: float
    outcome: str


def ask(address: str) -> Heard:
    """Send one request, on a connection of its own."""
    began = time.time()
    url = urlsplit(address)
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.netloc, timeout=PATIENCE)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        method = "POST" if BODY else "GET"
        target = url._replace(scheme="", netloc="", fragment="").geturl()
        connection.request(method, target, BODY, form if BODY else {})
        status = connection.getresponse().status
        outcome = "answered" if status < 400 else str(status)
    except TimeoutError:
        outcome = f"no answer within {PATIENCE:g} s"
    except (OSError, HTTPException) as error:
        outcome = type(error).__name__
    finally:
        connection.close()
    return Heard(began, time.time(), outcome)


def drill(address: str, rate: float, seconds: float) -> list[Heard]:
    """Start requests at this rate, even while others wait for an answer."""
    heard: list[Heard] = []
    threads = [
        threading.Thread(target=lambda: heard.append(ask(address)))
        for _ in range(int(rate * seconds))
    ]
    begun = time.monotonic()
    for number, thread in enumerate(threads):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(heard)


# region: gap
def gap(heard: list[Heard]) -> tuple[float, float]:
    """Return the longest time without an answer, and when it began."""
    answers = sorted(each.ended for each in heard if each.outcome == "answered")
    times = [heard[0].began, *answers, max(each.ended for each in heard)]
    return max((b - a, a) for a, b in pairwise(times))


# endregion: gap


def report(heard: list[Heard]) -> str:
    counted = Counter(each.outcome for each in heard)
    lines = [f"{times:>6} × {text}" for text, times in counted.most_common()]
    length, began = gap(heard)
    at = time.strftime("%H:%M:%S", time.localtime(began))
    lines.append(f"no request was answered for {length:.1f} s, from {at}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(drill(sys.argv[1], RATE, SECONDS)))
