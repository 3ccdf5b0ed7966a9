"""One load, sent by k6."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("load.js")


def program() -> str:
    """Return where k6 is. Raises RuntimeError where it is not."""
    found = shutil.which("k6", path=sysconfig.get_path("scripts"))
    if found is None:
        raise RuntimeError("k6 is missing: run make measure, which installs it")
    return found


def version() -> str:
    """Return k6's version, as in "1.1.0"."""
    said = subprocess.run([program(), "version"], check=True, capture_output=True, text=True).stdout
    return said.split()[1].removeprefix("v")


def send(url: str, seconds: float, rate: int | None = None, clients: int = 1) -> dict[str, float]:
    """Send requests for so many seconds: `rate` a second, or from `clients` that each wait for their answer.

    Returns p50, p95 and p99 in ms, the rate of answers a second, and how many requests were answered, failed, or were
    not sent in time. Raises RuntimeError where nothing could be sent, or every request failed.
    """
    variables = {"URL": url, "SECONDS": str(seconds), "CLIENTS": str(clients), "RATE": str(rate or "")}
    # No port for k6's own interface, and no usage report.
    options = ["run", "--quiet", "--no-usage-report", "--address", "", "--log-output", "stderr"]
    done = subprocess.run(
        [program(), *options, SCRIPT], env={**os.environ, **variables}, capture_output=True, text=True, timeout=120
    )
    try:
        said = json.loads(done.stdout)
    except ValueError as error:
        raise RuntimeError(f"k6 measured nothing:\n{done.stderr.strip()[-2000:]}") from error
    return _found(said)


def _found(said: dict[str, Any]) -> dict[str, float]:
    times = said["http_req_duration"]["values"]
    # k6 counts under "passes" how often it was true that a request failed.
    failed = said["http_req_failed"]["values"]["passes"]
    if failed == times["count"]:
        raise RuntimeError(f"all {failed} requests of k6 failed: is the server running?")
    return {
        "p50": times["med"],
        "p95": times["p(95)"],
        "p99": times["p(99)"],
        "throughput": times["count"] / said["seconds"],
        "requests": times["count"],
        "failed": failed,
        "dropped": said.get("dropped_iterations", {"values": {"count": 0}})["values"]["count"],
    }
