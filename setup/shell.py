"""What the tests take from the user's shell: the variables that shell.txt lists, and nothing else.

    python3 -m setup.shell    says in one line what the tests cannot use, before anything is fetched or started

The Makefile takes from the shell what shell.txt lists; in `.venv/bin/pytest`, conftest.py does. No message quotes a
variable that may hold a secret.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What takes the place of what is left out. libpq finds no passwords in a file that does not exist.
OURS = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "PGPASSFILE": str(ROOT / "build" / "no-passwords")}
THIS_MACHINE = "127.0.0.1,localhost"  # no proxy leads here
SERVERS = 65534  # the user id that runs PostgreSQL where we are root
# As libpq reads it, except what libpq would split elsewhere than its writer meant.
TEXT = r"(?:[^\s%@/:]|%(?!00)[0-9a-f]{2})"
ADDRESS = re.compile(
    rf"postgres(?:ql)?://(?:{TEXT}+(?::(?:{TEXT}|:)*)?@)?(?:\[[0-9a-f:.]+\]|[\w.-]+)(?::(?P<port>\d{{1,5}}))?"
    rf"(?:[/?](?:{TEXT}|[:/])*)?",
    re.IGNORECASE,
)
SUITE = re.compile("[a-z]+")
# For each variable that is checked: what it must be, and whether a value is that.
FITS: dict[str, tuple[str, Callable[[str], object]]] = {
    "PROVEN_CHROMIUM": ("a browser's program", shutil.which),
    "PROVEN_DRIVER": ("psycopg2, the only other driver", "psycopg2".__eq__),
    "PROVEN_MONITORING": ("a suite of Debian or a folder", lambda name: SUITE.fullmatch(name) or Path(name).is_dir()),
    "PROVEN_PGBOUNCER": ("a suite of Debian or a program", lambda name: SUITE.fullmatch(name) or shutil.which(name)),
    "PROVEN_PG_BIN": ("the bin directory of a PostgreSQL", lambda name: shutil.which("initdb", path=name)),
    "PROVEN_STAND_INS": ("1, the only value that it may have", "1".__eq__),
    "TMPDIR": (
        "the whole path of a folder that can be written",
        lambda name: name.startswith("/") and os.access(name, os.W_OK | os.X_OK),
    ),
    "XDG_CACHE_HOME": ("the whole path of a folder", lambda name: name.startswith("/")),
}


def listed() -> tuple[str, ...]:
    """Return the names in shell.txt; a * at the end stands for whatever follows."""
    lines = (ROOT / "setup" / "shell.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.split()[0] for line in lines if not line.startswith("#"))


def taken(shell: dict[str, str]) -> dict[str, str]:
    """Return the environment of the tests, given that of a shell."""
    names = listed()
    whole, begins = set(names), tuple(name[:-1] for name in names if name.endswith("*"))
    found = {name: value for name, value in shell.items() if name in whole or name.startswith(begins)}
    others = found.pop("NO_PROXY", "")
    near = found.get("no_proxy", others)
    if THIS_MACHINE not in near:
        near = ",".join(filter(None, [near, THIS_MACHINE]))
    return {**found, **OURS, "no_proxy": near}


def enter() -> None:
    """Give this process and those that it starts that environment alone. Exits with what cannot be used.

    A worker of pytest-xdist learns from variables which one it is; the process that started it has checked the shell.
    """
    worker = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_XDIST_")}
    problem = "" if worker else python()
    made = {**taken(dict(os.environ)), **worker}
    os.environ.clear()
    os.environ.update(made)
    _stop(problem or ("" if worker else wrong(made)))


def python() -> str:
    """Return what is wrong with how this Python was started, or nothing. It cannot be undone while Python runs."""
    import codecs
    import locale

    if not __debug__:
        return "Python leaves assertions out (-O, PYTHONOPTIMIZE), and tests are made of them: unset it, or run make"
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if codecs.lookup(encoding).name != "utf-8":
        return f"files are UTF-8, and Python would read them as {encoding}: set PYTHONUTF8=1, or run make"
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if not Path(folder).resolve().is_relative_to(ROOT):
            return "packages on PYTHONPATH would take the place of those in .venv: unset it, or run make"
    return ""


def wrong(shell: dict[str, str]) -> str:
    """Return what the tests cannot use of a shell or of the machine, and what to do, or nothing."""
    return variables(shell) or git() or user()


def variables(shell: dict[str, str]) -> str:
    """Return which variable holds what cannot be used, and what it should hold, or nothing."""
    for name in sorted(name for name, value in shell.items() if value):
        what, fits = FITS.get(name, ("", bool))
        if _ours(name) and not what:
            return f"no variable is called {name} here: there are {', '.join(filter(_ours, FITS))}"
        if not fits(shell[name]):
            return f"{name}={shell[name]} is not {what}: fix it, or unset it"
    return database(shell.get("DATABASE_URL", ""))


def database(url: str) -> str:
    """Return what is wrong with the form of DATABASE_URL, or nothing. Any piece of it may be part of a password."""
    found = ADDRESS.fullmatch(url)
    if not url or (found and 0 < int(found["port"] or 5432) < 65536):
        return ""
    return (
        "DATABASE_URL is not of the form postgresql://NAME:PASSWORD@HOST:5432/DATABASE: in a name or password, "
        "write %40 for @, %2F for /, %3A for : and %25 for %"
    )


def git() -> str:
    """Return why git cannot say which files there are, or nothing."""
    clone = "the tests ask git which files there are"
    try:
        asked = subprocess.run(["git", "ls-files", "-co", "Makefile"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return f"git is not on PATH, and {clone}: install git"
    if "dubious ownership" in asked.stderr:
        return f"another user owns {ROOT}, and {clone}: git config --global --add safe.directory {ROOT}"
    return "" if asked.stdout else f"{ROOT} is not a git checkout, and {clone}: clone the project, or run git init"


def user() -> str:
    """Return why PostgreSQL cannot be started as this user, or nothing."""
    number = os.getuid() or SERVERS
    try:
        pwd.getpwuid(number)
    except KeyError:
        return f"the user id {number} has no name, and PostgreSQL asks for one: run as a user whom /etc/passwd names"
    return ""


def _ours(name: str) -> bool:
    return name.startswith("PROVEN_")


def _stop(problem: str) -> None:
    if problem:
        sys.exit(f"shell: {problem}")


if __name__ == "__main__":
    _stop(wrong(dict(os.environ)))
