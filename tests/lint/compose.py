"""What the files of a Compose project say of each other, with no engine at hand.

A host that one file names is a service of compose.yaml, its port is one that this service listens on, the user and the
database are made by roles.sql and known to PgBouncer, a secret is made by secrets.sh and given to who reads it, and the
limits fit: of connections, and of patience when something ends.

The schema of compose.yaml is for check-jsonschema to judge, and what is in a Dockerfile for hadolint.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from proven.problems import Problem, nearest

OFFICIAL = ("debian", "postgres", "python")
URL = re.compile(
    r"postgres(?:ql)?://(?P<user>\w+)(?P<password>:[^@]+)?@(?P<host>[\w.-]+)(?::(?P<port>\d+))?/(?P<name>\w+)"
)
ENTRY = re.compile(r"(\w+)=(\S+)")
SECRET = re.compile(r"/run/secrets/([\w.]+)")
UNITS = {"s": 1, "m": 60}
# PostgreSQL's own defaults.
POSTGRESQL_PORT = 5432
MAX_CONNECTIONS, RESERVED = 100, 3
# While one PgBouncer replaces another, both are there.
AT_ONCE = 2


@dataclass
class Ini:
    """What PgBouncer takes from an ini and from what it includes: of two values the later one."""

    settings: dict[str, str] = field(default_factory=dict)
    databases: dict[str, dict[str, str]] = field(default_factory=dict)

    def read(self, file: Path, section: str = "pgbouncer") -> str:
        """Read a file as PgBouncer does, and return the section that it ends in."""
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("%include "):
                section = self.read(file.parent / Path(line.split()[1]).name, section)
            elif header := re.fullmatch(r"\[(\w+)\]", line.strip()):
                section = header[1]
                if section == "pgbouncer":
                    self.settings.clear()  # as if nothing had been said before
            elif setting := re.match(r"(\w+)\s*=[^\S\n]*(.*)", line):
                if section == "databases":
                    self.databases[setting[1]] = dict(ENTRY.findall(setting[2]))
                else:
                    self.settings[setting[1]] = setting[2].strip()
        return section

    def number(self, name: str, default: int) -> int:
        """Return a setting that is a number."""
        return int(self.settings.get(name) or default)


class Project:
    """compose.yaml, and the files that it leads to. `file` is its path, `root` what paths in messages begin at."""

    def __init__(self, file: Path, root: Path) -> None:
        self.file = file
        self.root = root
        self.folder = file.parent
        self.spec: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        self.services: dict[str, dict[str, Any]] = self.spec["services"]

    def problem(self, words: str, message: str, file: Path | None = None) -> Problem:
        """Return a problem at the first line of a file, compose.yaml if no other, that has these words."""
        at = file or self.file
        lines = at.read_text(encoding="utf-8").splitlines()
        line = next((number for number, text in enumerate(lines, start=1) if words in text), 1)
        return Problem(at.relative_to(self.root).as_posix(), line, message)

    # ---- what the files define ---------------------------------------------------------------------------

    def dockerfile(self, service: str) -> Path | None:
        """Return what a service is built from, or None where it is an image."""
        build = self.services[service].get("build")
        context = build.get("context", ".") if isinstance(build, dict) else build
        file = (self.folder / context / "Dockerfile").resolve() if context else None
        return file if file and file.exists() else None

    def mounts(self, service: str) -> dict[str, Path]:
        """Return the files that a service is given, by where it finds them."""
        pairs = [str(volume).split(":") for volume in self.services[service].get("volumes", [])]
        return {pair[1]: (self.folder / pair[0]).resolve() for pair in pairs if pair[0].startswith(".")}

    def ini(self, service: str) -> tuple[Path, Ini] | None:
        """Return PgBouncer's configuration, where a service is a PgBouncer: mounted, or copied into its image."""
        file = next((path for path in self.mounts(service).values() if path.suffix == ".ini"), None)
        built = self.dockerfile(service)
        if built and (named := re.search(r'^CMD \[".*/(\w+\.ini)"\]', built.read_text(encoding="utf-8"), re.MULTILINE)):
            file = built.parent / named[1]
        if file is None or not file.exists():
            return None
        ini = Ini()
        ini.read(file)
        return file, ini

    def ports(self, service: str) -> set[int]:
        """Return the ports that a service listens on. Of an image that is not known here nobody can tell."""
        if found := self.ini(service):
            return {found[1].number("listen_port", 6432)}
        if built := self.dockerfile(service):
            return {int(port) for port in re.findall(r"^EXPOSE (\d+)", built.read_text(encoding="utf-8"), re.MULTILINE)}
        return {POSTGRESQL_PORT} if self.is_postgres(service) else set()

    def is_postgres(self, service: str) -> bool:
        """Return whether a service is PostgreSQL's official image."""
        return str(self.services[service].get("image", "")).startswith("postgres:")

    @cached_property
    def scripts(self) -> dict[str, str]:
        """The shell scripts beside compose.yaml, and the SQL that is mounted, by their names."""
        mounted = [path for service in self.services for path in self.mounts(service).values() if path.suffix == ".sql"]
        files = [*sorted(self.folder.glob("compose/*.sh")), *mounted]
        return {file.name: file.read_text(encoding="utf-8") for file in files if file.exists()}

    @cached_property
    def roles(self) -> set[str]:
        """Who can log in to PostgreSQL."""
        return {"postgres", *re.findall(r"^create role (\w+) login", self.scripts.get("roles.sql", ""), re.MULTILINE)}

    @cached_property
    def databases(self) -> set[str]:
        """Which databases there are in PostgreSQL."""
        return {"postgres", *re.findall(r"^create database (\w+)", self.scripts.get("roles.sql", ""), re.MULTILINE)}

    @cached_property
    def users(self) -> set[str]:
        """Who can connect to PgBouncer."""
        return set(re.findall(r'^"(\w+)" "', self.scripts.get("secrets.sh", ""), re.MULTILINE))

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables that a service is given."""
        given = self.services[service].get("environment") or {}
        pairs = given.items() if isinstance(given, dict) else (entry.partition("=")[::2] for entry in given)
        return {name: str(value) for name, value in pairs}

    def secrets(self, service: str) -> dict[str, str]:
        """Return the secrets that a service is given, by the name of the file that it finds."""
        listed = self.services[service].get("secrets", [])
        pairs = [
            (one, one) if isinstance(one, str) else (one.get("target", one["source"]), one["source"]) for one in listed
        ]
        return dict(pairs)

    def grace(self, service: str) -> int:
        """Return for how many seconds a service may go on after SIGTERM."""
        said = str(self.services[service].get("stop_grace_period", "10s"))
        return int(said[:-1]) * UNITS[said[-1]]


def problems(file: Path, root: Path) -> list[Problem]:
    """Return where a project's files disagree, each once."""
    project = Project(file, root)
    checks = (images, waiting, addresses, poolers, published, secrets, readers, healthy, scripts, limits)
    return list(dict.fromkeys(problem for check in checks for problem in check(project)))


def images(project: Project) -> Iterator[Problem]:
    """Each image is an official one, at an exact version."""
    if "version" in project.spec:
        yield project.problem("version:", "version: Compose ignores it, and says so")
    named = [(service["image"], None) for service in project.services.values() if "image" in service]
    for service in project.services:
        if built := project.dockerfile(service):
            stages = re.findall(r"^FROM (\S+)", built.read_text(encoding="utf-8"), re.MULTILINE)
            named += [(image, built) for image in stages if image != "scratch"]
    for image, at in named:
        name, _, tag = image.partition(":")
        if name not in OFFICIAL:
            yield project.problem(
                image, f"{name}: not an official image, so who knows what it reads: build your own", at
            )
        if not re.search(r"\d+\.\d+|\d{8}", tag):
            yield project.problem(image, f"{image}: name an exact version, as this is another image tomorrow", at)


def waiting(project: Project) -> Iterator[Problem]:
    """Who needs another service waits until that one is healthy, or has ended well."""
    for name, service in project.services.items():
        needed = service.get("depends_on", {})
        for other in needed:
            if other not in project.services:
                yield project.problem(f"{other}", f"{name} waits for {other}: {unknown(project, other)}")
                continue
            condition = needed[other].get("condition") if isinstance(needed, dict) else None
            if condition not in ("service_healthy", "service_completed_successfully"):
                words = f"- {other}" if isinstance(needed, list) else f"{other}:"
                yield project.problem(words, f"{name} starts when {other} has started, not when it answers")
            elif condition == "service_healthy" and "healthcheck" not in project.services[other]:
                yield project.problem(f"{other}:", f"{name} waits until {other} is healthy, which has no health check")


def addresses(project: Project) -> Iterator[Problem]:
    """Each address in the environment of a service leads somewhere, as somebody who may be there."""
    for service in project.services:
        for name, value in project.environment(service).items():
            if name.endswith("_HOST") and value not in project.services:
                yield project.problem(f"{name}:", f"{name}: {unknown(project, value)}")
            if url := URL.match(value):
                yield from (project.problem(value, f"{name}: {message}") for message in address(project, url))


def address(project: Project, url: re.Match[str]) -> Iterator[str]:
    """Return what is wrong with the address of a database."""
    if url["password"]:
        yield "a file that people copy is no place for a password"
    host, name, user = url["host"], url["name"], url["user"]
    if host not in project.services:
        yield unknown(project, host)
        return
    yield from port(project, host, int(url["port"] or POSTGRESQL_PORT))
    found = project.ini(host)
    if found and name not in found[1].databases:
        yield f"{host} has no database {name}{nearest(name, found[1].databases)}"
    if found and user not in project.users:
        yield f"{host} knows no user {user}{nearest(user, project.users)}"
    if project.is_postgres(host) and name not in project.databases:
        yield f"roles.sql makes no database {name}{nearest(name, project.databases)}"
    if user not in project.roles:
        yield f"roles.sql makes no user {user}{nearest(user, project.roles)}"


def port(project: Project, service: str, number: int) -> Iterator[str]:
    """Return whether a service is asked for at a port that it does not listen on."""
    listens = project.ports(service)
    if listens and number not in listens:
        yield f"{service} listens on {', '.join(map(str, listens))}, not on {number}"


def poolers(project: Project) -> Iterator[Problem]:
    """Each PgBouncer listens where others reach it, and leads to a server of the project."""
    for service in project.services:
        if (found := project.ini(service)) is None:
            continue
        file, ini = found
        if ini.settings.get("listen_addr") not in ("*", "0.0.0.0"):  # noqa: S104  (in a container)
            yield project.problem("listen_addr", "listen_addr: nobody outside of its container reaches it: *", file)
        if ini.settings.get("auth_type") != "scram-sha-256":
            yield project.problem("auth_type", "auth_type: scram-sha-256, as PostgreSQL has it", file)
        given = {f"/run/secrets/{target}" for target in project.secrets(service)} | {*project.mounts(service)}
        if (users := ini.settings.get("auth_file", "")) not in given:
            yield project.problem("auth_file", f"auth_file: {service} is given no {users}", file)
        for name, entry in ini.databases.items():
            host = entry.get("host", "")
            if host not in project.services:
                yield project.problem(f"{name} =", f"{name}: {unknown(project, host)}", file)
                continue
            for message in port(project, host, int(entry.get("port", POSTGRESQL_PORT))):
                yield project.problem(f"{name} =", f"{name}: {message}", file)
            if entry.get("dbname", name) not in project.databases:
                yield project.problem(
                    f"{name} =", f"{name}: roles.sql makes no database {entry.get('dbname', name)}", file
                )


def published(project: Project) -> Iterator[Problem]:
    """A port that is published is one that the service listens on."""
    for service, spec in project.services.items():
        for mapping in spec.get("ports", []):
            for message in port(project, service, int(str(mapping).rpartition(":")[2])):
                yield project.problem(str(mapping), f"ports: {message}")


def secrets(project: Project) -> Iterator[Problem]:
    """A secret is declared, made by secrets.sh and given to somebody."""
    known = project.spec.get("secrets", {})
    made = project.scripts.get("secrets.sh", "")
    for name, secret in known.items():
        file = Path(secret["file"]).name
        if not re.search(rf"\b{re.escape(file)}\b", made):
            yield project.problem(f"{name}:", f"secrets.sh makes no {file}")
        if not any(name in project.secrets(service).values() for service in project.services):
            yield project.problem(f"{name}:", f"no service is given the secret {name}")
    for service in project.services:
        for source in project.secrets(service).values():
            if source not in known:
                yield project.problem(source, f"{service}: no secret is called {source}{nearest(source, known)}")


def readers(project: Project) -> Iterator[Problem]:
    """Who reads a secret, by its environment or in a script, is given it."""
    for service in project.services:
        given = project.secrets(service)
        for name, value in project.environment(service).items():
            for secret in SECRET.findall(value):
                if secret not in given:
                    yield project.problem(value, f"{name}: {service} is not given {secret}{nearest(secret, given)}")
        for target in project.mounts(service):
            if target.startswith("/docker-entrypoint-initdb.d/"):
                for secret in re.findall(r"\$\(secret (\w+)\)", project.scripts.get(Path(target).name, "")):
                    if secret not in given:
                        yield project.problem(f"{service}:", f"{Path(target).name}: {service} is not given {secret}")


def healthy(project: Project) -> Iterator[Problem]:
    """A health check asks at a port that the service listens on."""
    for service, spec in project.services.items():
        command = " ".join(map(str, spec.get("healthcheck", {}).get("test", [])))
        asked = re.search(r"--port=(\d+)|://127\.0\.0\.1:(\d+)", command)
        default = POSTGRESQL_PORT if "pg_isready" in command else None
        if number := next(filter(None, asked.groups()), None) if asked else default:
            for message in port(project, service, int(number)):
                yield project.problem(asked[0] if asked else f"{service}:", f"healthcheck: {message}")


def scripts(project: Project) -> Iterator[Problem]:
    """A script connects to PgBouncer's console at its port, as one whom it knows."""
    found = next((ini for service in project.services if (ini := project.ini(service))), None)
    for name, text in project.scripts.items():
        if not found or not name.endswith(".sh"):
            continue
        file = project.folder / "compose" / name
        listens = found[1].number("listen_port", 6432)
        for number in re.findall(r"--port=(\d+)", text):
            if int(number) != listens:
                yield project.problem(f"--port={number}", f"PgBouncer listens on {listens}, not on {number}", file)
        for user in re.findall(r"--username=(\w+)", text):
            if user not in project.users | project.roles:
                yield project.problem(f"--username={user}", f"nobody is called {user}", file)


def limits(project: Project) -> Iterator[Problem]:
    """Two PgBouncers fit into PostgreSQL, all threads into one of them, and whoever ends has the time to."""
    gunicorn = project.folder / "gunicorn.conf.py"
    settings = gunicorn.read_text(encoding="utf-8") if gunicorn.exists() else ""
    threads = 1
    for name in ("WORKERS", "THREADS"):
        default = re.search(rf'"GUNICORN_{name}", "(\d+)"', settings)
        threads *= int(default[1]) if default else 1
    pooler = next((service for service in project.services if project.ini(service)), None)
    if pooler is None:
        return
    file, ini = project.ini(pooler)  # type: ignore[misc]
    # The file that has it may be the one that this one includes.
    size = ini.number("max_db_connections", 0)
    usable = MAX_CONNECTIONS - RESERVED
    if not 0 < size * AT_ONCE <= usable:
        message = f"max_db_connections: two PgBouncers, as at a restart, may open {size * AT_ONCE or 'any number'}"
        yield project.problem("max_db_connections", f"{message}; PostgreSQL has {usable} slots", file)
    if ini.number("max_client_conn", 100) < threads * AT_ONCE:
        yield project.problem("max_client_conn", f"max_client_conn: {threads} threads, twice at a deploy", file)
    for service in project.services:
        age = int(project.environment(service).get("DB_CONN_MAX_AGE", 0))
        if age >= project.grace(pooler):
            message = (
                f"kept connections last for {age} s, and {pooler} is killed {project.grace(pooler)} s after SIGTERM"
            )
            yield project.problem("DB_CONN_MAX_AGE", f"DB_CONN_MAX_AGE: {message}")
        patience = re.search(r"^graceful_timeout = (\d+)", settings, re.MULTILINE)
        if patience and "web" in service and project.grace(service) <= int(patience[1]):
            message = (
                f"{service} is killed after {project.grace(service)} s, and Gunicorn gives requests {patience[1]} s"
            )
            yield project.problem(f"{service}:", f"stop_grace_period: {message}")


def unknown(project: Project, host: str) -> str:
    """Return that a host is none of the project's."""
    return f"no service is called {host or '(none)'}{nearest(host, project.services)}"
