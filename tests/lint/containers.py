"""What the containers of a Compose project promise beside what its files say of each other (compose.py).

Nobody is root or can become it, nothing is written but where it is said, and each health check asks what is there.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from proven.problems import Problem
from tests.lint import pods, promised
from tests.lint.compose import Project

HARDENED = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
}
WRITTEN = {"/tmp", "/run/postgresql"}
DATA = "data:/var/lib/postgresql"
MIGRATE = ["python", "manage.py", "migrate", "--database=direct"]
ASKS = ("pg_isready", "python")
RETRIES = 2  # of a SYN: more would keep a request waiting for longer than a try of libpq's is worth


def problems(file: Path, root: Path) -> list[Problem]:
    """Return which promises the containers, and the two inis of their pooler, do not keep."""
    project = Project(file, root)
    found = [problem for check in CHECKS for problem in check(project)]
    for ini in sorted((file.parent.parent / "pgbouncer").glob("[pc]*er.ini")):
        found += promised.problems(ini.relative_to(root).as_posix(), ini.read_text(encoding="utf-8"))
    return found


def hardened(project: Project) -> Iterator[Problem]:
    """Each container is hardened, and is built or started from what is there."""
    for name, service in project.services.items():
        for key, value in HARDENED.items():
            if service.get(key) != value:
                yield project.problem(f"{key}:", f"{name}: {key} is {value}")
        if service.get("restart") != ("no" if name == "migrate" else "unless-stopped"):
            yield project.problem("restart:", f"{name}: who is to go on is started again, and who is done is not")
        if "build" in service and not project.dockerfile(name):
            yield project.problem(f"build: {service['build']}", f"{name}: there is no Dockerfile")
        if name == "migrate" and service.get("command") != MIGRATE:
            yield project.problem("command:", f"{name}: it runs {' '.join(MIGRATE)}")
        if (tries := service.get("sysctls", {}).get("net.ipv4.tcp_syn_retries", 0)) > RETRIES:
            yield project.problem("tcp_syn_retries", f"{name}: {tries} retries last longer than libpq is to wait")


def mounted(project: Project) -> Iterator[Problem]:
    """Each file that is mounted is there, is not to be written, and is where a script looks for it."""
    for name, service in project.services.items():
        if project.is_postgres(name):
            if service.get("user") != "postgres":
                yield project.problem("user:", f"{name}: the image's user is postgres")
            if set(service.get("tmpfs", [])) != WRITTEN:
                yield project.problem("tmpfs:", f"{name}: it writes to {', '.join(sorted(WRITTEN))}")
            if DATA not in service.get("volumes", []):
                yield project.problem("data:", f"{name}: its data is in {DATA}")
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith(".") and (mode != ["ro"] or not (project.folder / source).exists()):
                yield project.problem(volume, f"{name}: a file that is there, to be read alone")
            if target.endswith(".sql") and not any(target in script for script in project.scripts.values()):
                yield project.problem(volume, f"{name}: no script reads {target}")
            if source.endswith(".sh") and not target.startswith("/docker-entrypoint-initdb.d/"):
                yield project.problem(volume, f"{name}: the image runs what is in /docker-entrypoint-initdb.d")


def told(project: Project) -> Iterator[Problem]:
    """Django is told of settings that are there, and allows whom the health check asks for."""
    for name, service in project.services.items():
        given = project.environment(name)
        settings = given.get("DJANGO_SETTINGS_MODULE")
        if settings and not (project.folder / f"{settings.replace('.', '/')}.py").exists():
            yield project.problem("DJANGO_SETTINGS_MODULE", f"{name}: no settings are called {settings}")
        kind, program, *options = service.get("healthcheck", {}).get("test") or ["CMD", ASKS[0]]
        if kind != "CMD" or program not in ASKS:
            yield project.problem("healthcheck:", f"{name}: it asks with CMD and {' or '.join(ASKS)}")
        if program == "python" and (
            options[0] != "-c" or not _asks(options[-1], given.get("DJANGO_ALLOWED_HOSTS", ""))
        ):
            yield project.problem("healthcheck:", f"{name}: it asks for a page of the project at a host that it allows")
        for word in options:
            user = re.fullmatch(r"--username=(\w+)", word)
            if (user and user[1] not in promised.roles()) or (word.startswith("--host") and word != "--host=127.0.0.1"):
                yield project.problem(word, f"{name}: it asks 127.0.0.1, as somebody who may be there")


CHECKS = (hardened, mounted, told)


def _asks(code: str, hosts: str) -> bool:
    found = re.search(r'import urlopen;\s*urlopen\("http://([\w.]+):\d+(/[\w/]+)", timeout=\d+\)$', code)
    return bool(found) and found[1] in hosts.split(",") and found[2] in pods.paths()
