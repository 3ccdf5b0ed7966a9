"""Prometheus, promtool, and what it scrapes: postgres_exporter, pgbouncer_exporter, and mtail, which reads logs.

Those that PROVEN_MONITORING names, a folder of programs or a suite of Debian as in "trixie". Else those on PATH, if all
are there, else Debian's newest, unpacked into the cache without root: 52 MB to fetch, once.

All listen on the loopback address only.
"""

import functools
import http.client
import json
import os
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proven import evidence
from proven.problems import ProblemError
from proven.sources.snippets import Snippet
from setup import debian
from setup.programs import Program, started, unpacked
from tests.stack.leash import Leash
from tests.stack.wait import DEADLINE

# Each program: the names that it goes by, its own and Debian's, and what it says of itself.
PROGRAMS = {
    "prometheus": (("prometheus",), "prometheus, version"),
    "promtool": (("promtool",), "promtool, version"),
    "postgres_exporter": (("postgres_exporter", "prometheus-postgres-exporter"), "postgres_exporter, version"),
    # Debian 12 has another program under the package's name.
    "pgbouncer_exporter": (("pgbouncer_exporter", "prometheus-pgbouncer-exporter"), "pgbouncer_exporter, version"),
    "mtail": (("mtail",), "mtail version"),
}
PACKAGES = ("prometheus", "promtool", "prometheus-postgres-exporter", "prometheus-pgbouncer-exporter", "mtail")
# All are written in Go, whose threads and whose collector cost more than the work of these proofs.
THRIFTY = {"GOMAXPROCS": "1", "GOGC": "off", "GOMEMLIMIT": "200MiB"}
# In the proofs a minute takes a second: of every interval, of every duration in a rule, and of every limit in seconds.
FASTER = 60
DURATION = re.compile(r"(?<![\w.])(\d+)([smh])\b")
LIMIT = re.compile(r"(record: limit:\w+:seconds\n\s+expr: )(\d+)")
SECONDS = {"s": 1, "m": 60, "h": 3600}
# A sample as a program shows it at /metrics: name, labels, value.
SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Sample = tuple[str, dict[str, str], float]


class Exporter:
    """A program that answers at /metrics, on a port of its own."""

    def __init__(
        self, name: str, *options: str, env: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
    ) -> None:
        """Start one. In options and environment {port} stands for its port, {folder} for where the `files` are."""
        self.name = name
        self.options = options
        self.env = env or {}
        self.leash = Leash(name)
        for file, content in (files or {}).items():
            self.leash.write(file, content)
        self.start()

    def start(self, port: int | None = None) -> None:
        """Start it, on the port that it had before where that is named."""
        self.port = self.leash.serve(self.name, self._run, self._answers, port)

    def metrics(self) -> list[Sample]:
        """Scrape it as Prometheus does."""
        return samples(fetched(self.port, "/metrics").decode())

    def stop(self) -> None:
        """Stop it; its folder goes with it."""
        self.leash.stop()

    def _run(self, port: int) -> None:
        def here(text: str) -> str:
            return text.replace("{port}", str(port)).replace("{folder}", str(self.leash.folder))

        env = {
            **os.environ,
            **THRIFTY,
            "TMPDIR": str(self.leash.folder),
            **{name: here(value) for name, value in self.env.items()},
        }
        self.leash.run([*find(self.name), *map(here, self.options)], env=env)

    def _answers(self, port: int) -> bool:
        try:
            return bool(fetched(port, "/metrics"))
        except OSError:
            return False


class Prometheus:
    """Prometheus with a reader's configuration and rules, in which a minute takes a second."""

    def __init__(self, config: Snippet, rules: Snippet, targets: Mapping[str, int], interval: str = "15s") -> None:
        """Start it. `targets` says on which port each job's exporter is; a job that it does not name is left out.

        `interval` is another one between scrapes, as the configuration would have it: "90s" makes 1.5 seconds.
        """
        self.config, self.rules = config, rules
        self.leash = Leash("prometheus")
        text = retargeted(config.text, targets).replace("scrape_interval: 15s", f"scrape_interval: {interval}")
        self.leash.write("rules.yml", faster(rules.text))
        self.leash.write("prometheus.yml", faster(text))
        try:
            self.port = self.leash.serve("Prometheus", self._run, self._answers)
        except RuntimeError:
            check(config, rules)  # which names the line
            raise

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gives now: series, each with its labels and its value.

        Raises ValueError where Prometheus does not understand it.
        """
        return self._api("query", query=expression)["result"]

    def value(self, expression: str) -> float | None:
        """Return the one value of an expression, or None where it has none."""
        found = self.query(expression)
        assert len(found) < 2, f"{expression} has more than one value: {found}"
        return float(found[0]["value"][1]) if found else None

    def history(self, expression: str, seconds: float, step: float) -> list[dict[str, Any]]:
        """Return what an expression gave in the last seconds, every `step` of them."""
        now = self.now()
        return self._api("query_range", query=expression, start=now - seconds, end=now, step=step)["result"]

    def now(self) -> float:
        """Return Prometheus' time, in seconds since 1970."""
        return float(self._api("query", query="time()")["result"][1])

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of that name that fire, each with labels, annotations and value."""
        found = self._api("alerts")["alerts"]
        return [a for a in found if a["labels"]["alertname"] == name and a["state"] == "firing"]

    def stop(self) -> None:
        """Stop it; what it collected goes with it."""
        self.leash.stop()

    def _run(self, port: int) -> None:
        options = {
            "config.file": self.leash.folder / "prometheus.yml",
            "storage.tsdb.path": self.leash.folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
            "log.level": "warn",
        }
        command = [*find("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
        self.leash.run(command, env={**os.environ, **THRIFTY})

    def _answers(self, port: int) -> bool:
        try:
            return bool(fetched(port, "/-/ready"))
        except OSError:
            return False

    def _api(self, what: str, **parameters: object) -> Any:
        status, said = asked(self.port, f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}")
        if status != 200:
            raise ValueError(json.loads(said)["error"])
        return json.loads(said)["data"]


def environment(snippet: Snippet, **instead: str) -> dict[str, str]:
    """Return the variables of a reader's /etc/default file; `instead` names what ties one to a machine."""
    variables = dict(re.findall(r"^(\w+)=(.*)$", snippet.text, re.MULTILINE))
    for name in instead:
        assert name in variables, f"{snippet.place} does not set {name}"
    return variables | instead


def faster(text: str) -> str:
    """Return a configuration or rules in which a minute takes a second; nothing else differs."""

    def scaled(found: re.Match[str]) -> str:
        return f"{int(found[1]) * SECONDS[found[2]] * 1000 // FASTER}ms"

    text = LIMIT.sub(lambda found: f"{found[1]}{int(found[2]) / FASTER:g}", text)
    return DURATION.sub(scaled, text)


def retargeted(text: str, targets: Mapping[str, int]) -> str:
    """Return a configuration whose jobs have their exporters on these ports."""

    def job(found: re.Match[str]) -> str:
        port = targets.get(found[1])
        return re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", found[0]) if port else ""

    return re.sub(r"^  - job_name: (\S+)\n(?:(?!  - job_name).*\n)*", job, text, flags=re.MULTILINE)


def check(config: Snippet, rules: Snippet) -> None:
    """Have promtool check a configuration with its rules. Raises ProblemError with what it found."""
    promtool("check", "config", "prometheus.yml", files={"rules.yml": rules, "prometheus.yml": config})


def promtool(*arguments: str, files: Mapping[str, Snippet]) -> None:
    """Run promtool among these files, which then count as run.

    Raises ProblemError where it is not content, of the file that it names, or the first.
    """
    leash = Leash("promtool")
    try:
        for name, snippet in files.items():
            (leash.folder / name).parent.mkdir(exist_ok=True)
            (leash.folder / name).write_text(snippet.text)
        command, env = [*find("promtool"), *arguments], {**os.environ, **THRIFTY}
        done = subprocess.run(command, cwd=leash.folder, env=env, capture_output=True, text=True)
    finally:
        leash.stop()
    if done.returncode:
        said = "\n".join(
            line for line in (done.stdout + done.stderr).splitlines() if line.strip() not in ("", "FAILED:")
        )
        at = re.search(r"([\w./]+): (\d+):\d+: ", said)
        snippet = files.get(at[1] if at else "", next(iter(files.values())))
        raise ProblemError(snippet.place, snippet.source_line(int(at[2])) if at else 1, said)
    evidence.on(promtool=version("promtool"))
    for snippet in files.values():
        evidence.ran(snippet)


def samples(text: str) -> list[Sample]:
    """Return what a program showed at /metrics. Source: Prometheus' text-based exposition format."""
    return [
        (found["name"], dict(LABEL.findall(found["labels"] or "")), float(found["value"]))
        for found in SAMPLE.finditer(text)
    ]


def fetched(port: int, path: str) -> bytes:
    """Return what a program on this machine answers. Raises OSError where it does not, or with an error."""
    status, said = asked(port, path)
    if status != 200:
        raise OSError(f"{path} answered {status}: {said.decode(errors='replace')}")
    return said


def asked(port: int, path: str) -> tuple[int, bytes]:
    """Return the status and the body that a program on this machine answers with, whatever proxy the machine has."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def find(name: str) -> list[str]:
    """Return the command that runs one of the programs. Raises RuntimeError with what to do where there is none."""
    return _found()[name][0]


def version(name: str) -> str:
    """Return the version of one of the programs, as in "3.5.3"."""
    return _found()[name][1]


def _found() -> dict[str, tuple[list[str], str]]:
    found = _search()
    if isinstance(found, RuntimeError):
        raise found
    return found


@functools.cache
def _search() -> dict[str, tuple[list[str], str]] | RuntimeError:
    """Look for the programs, once: to find that there are none can take long without a network."""
    named = os.environ.get("PROVEN_MONITORING", "")
    try:
        if re.fullmatch(r"[a-z]+", named):
            return _from_debian(named)
        on_path = {program: _installed(program, named or None) for program in PROGRAMS}
        missing = sorted(program for program, found in on_path.items() if not found)
        if named and missing:
            raise RuntimeError(f"PROVEN_MONITORING={named} lacks {', '.join(missing)}")
        if missing:
            return _from_debian("sid", "trixie")
    except RuntimeError as error:
        return RuntimeError(f"no Prometheus and exporters: install {', '.join(PROGRAMS)} ({error})")
    return {program: found for program, found in on_path.items() if found}


def _installed(program: str, path: str | None) -> tuple[list[str], str] | None:
    """Return the command and the version of a program, if what has its name is really it."""
    found = next(filter(None, (shutil.which(name, path=path) for name in PROGRAMS[program][0])), None)
    try:
        return ([found], _version(program, Program(Path(found)), ours=False)) if found else None
    except RuntimeError:
        return None


def _from_debian(*suites: str) -> dict[str, tuple[list[str], str]]:
    """Return the commands and versions of the programs of the first of these suites."""
    first, *beside = PACKAGES
    folder = debian.fetch(first, *suites, beside=tuple(beside))
    made = {}
    for name, (names, _) in PROGRAMS.items():
        program = unpacked(folder, f"usr/bin/{next(n for n in names if (folder / 'usr/bin' / n).exists())}")
        made[name] = (program.command, _version(name, program))
    return made


def _version(name: str, program: Program, ours: bool = True) -> str:
    """Return a program's version. Raises RuntimeError where it is another one, or does not start."""
    said = started(program, "--version", ours=ours)[1]
    found = re.search(r"version v?(\d[\d.]*\d)", said)
    if PROGRAMS[name][1] not in said or not found:
        raise RuntimeError(f"{program.path} is not {name}")
    return found[1]
