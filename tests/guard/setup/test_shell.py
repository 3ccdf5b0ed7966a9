"""Whatever somebody's shell has, the tests see what setup/shell.txt lists; what of it they cannot use is one line."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proven import ROOT
from setup import address, shell
from tests.guard.setup.shells import somebodys
from tests.lint import files
from tests.stack import postgres

# In the place of every program that make starts: it tells its arguments and its environment, as a line of JSON.
TELLS = """\
#!{python} -IS
import json, os, sys
with open({file!r}, "a") as told:
    told.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
"""
# What make says of itself, and the shell in which it runs some commands.
MAKES = {"MAKELEVEL", "SHELL", "PWD", "OLDPWD", "_"}
MADE = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "NO_MKDOCS_2_WARNING": "1"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is cloned."""
    folder = tmp_path_factory.mktemp("shell") / "clone"
    files.clone(folder)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    return folder


def make(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make in a shell that has these variables, and as many others as make takes to say what it does."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "PYENV_ROOT": os.environ.get("PYENV_ROOT", ""), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_these_tests_see_what_is_listed() -> None:
    """Also in a parallel worker, and when pytest was started by hand."""
    others = set(os.environ) - set(shell.taken(dict(os.environ)))
    assert not [name for name in others if not name.startswith("PYTEST_")]
    assert {name: os.environ[name] for name in shell.OURS} == shell.OURS


@pytest.mark.parametrize(
    ("target", "first"),
    [
        ("serve", ["-m", "setup.address", "127.0.0.1:8000"]),
        ("test", ["-m", "setup.shell"]),
        ("measure", ["-m", "setup.shell"]),
        ("site", ["-m", "setup.environment"]),
    ],
)
def test_make_passes_on_what_is_listed(target: str, first: list[str], clone: Path, tmp_path: Path) -> None:
    """Unchanged, to every program that it starts, and nothing else: no option of an outer make either.

    What runs tests begins with a look at the shell. The site needs nothing of what that looks for.
    """
    told = tmp_path / "told"
    for name in ("python", "pytest", "mkdocs"):
        (tmp_path / name).write_text(TELLS.format(python=sys.executable, file=str(told)))
        (tmp_path / name).chmod(0o755)
    listed = {name.replace("*", "ANY"): "$(PATH) $HOME\n'x'" for name in shell.listed()}
    listed |= {"PATH": os.environ["PATH"], "CI": "true"}
    others = {**somebodys(tmp_path / "shadow"), "MAKEFLAGS": "k", "MAKELEVEL": "3"}
    said = make(clone, target, f"BIN={tmp_path}", f"PYTHON={tmp_path}/python", **{**others, **listed})
    assert said.returncode == 0, said.stderr
    ran = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(ran) >= 3
    assert [arguments for arguments, _ in ran if "setup.shell" in arguments or arguments == ran[0][0]] == [first]
    for _, environment in ran:
        assert {name: value for name, value in environment.items() if name not in MAKES} == {**listed, **MADE}


@pytest.mark.parametrize(
    ("variables", "near"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": ".example"}, ".example,127.0.0.1,localhost"),
        ({"no_proxy": ".example", "NO_PROXY": "other"}, ".example,127.0.0.1,localhost"),
        ({"no_proxy": "127.0.0.1,localhost"}, "127.0.0.1,localhost"),
    ],
)
def test_no_proxy_stands_before_our_servers(variables: dict[str, str], near: str) -> None:
    """Whatever the shell says, in whichever letters: programs differ in which of both they read first."""
    made = shell.taken({**variables, "http_proxy": "http://127.0.0.1:9"})
    assert made == {**shell.OURS, "http_proxy": "http://127.0.0.1:9", "no_proxy": near}


def test_every_variable_that_is_read_is_listed() -> None:
    """One that is not would be missed without a word."""
    read = set(re.findall(r"!ENV \[(\w+)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    for path in files.matching("setup/*.py", "proven/*.py", "measure/*.py", "tests/stack/*.py", "tests/site/*.py"):
        text = (ROOT / path).read_text(encoding="utf-8")
        read |= set(re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', text))
    assert {"SITE_URL", "CI", "PROVEN_PG_BIN", "XDG_CACHE_HOME"} <= read
    # These are given to programs that a test starts.
    ours = {"PYTHONPATH", "REDIS_URL", "UNITS"}
    assert read - set(shell.taken(dict.fromkeys(read, "1"))) == ours


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PROVEN_PG_BIN": "/nowhere"}, "PROVEN_PG_BIN=/nowhere is not the bin directory of a PostgreSQL"),
        ({"PROVEN_PGBOUNCER": "/nowhere"}, "PROVEN_PGBOUNCER=/nowhere is not a suite of Debian or a program"),
        ({"PROVEN_MONITORING": "/nowhere"}, "PROVEN_MONITORING=/nowhere is not a suite of Debian or a folder"),
        ({"PROVEN_CHROMIUM": "/nowhere"}, "PROVEN_CHROMIUM=/nowhere is not a browser's program"),
        ({"PROVEN_DRIVER": "mysql"}, "PROVEN_DRIVER=mysql is not psycopg2"),
        ({"PROVEN_PGBOUNCERS": "sid"}, "no variable is called PROVEN_PGBOUNCERS here: there are PROVEN_CHROMIUM, "),
        ({"TMPDIR": "tmp"}, "TMPDIR=tmp is not the whole path of a folder"),
        ({"TMPDIR": "/nowhere"}, "TMPDIR=/nowhere is not the whole path of a folder that can be written"),
        ({"XDG_CACHE_HOME": "cache"}, "XDG_CACHE_HOME=cache is not the whole path of a folder"),
        ({"DATABASE_URL": "host=127.0.0.1 user=postgres"}, "DATABASE_URL is not of the form postgresql://NAME"),
    ],
)
def test_what_cannot_be_used_is_named(variables: dict[str, str], says: str) -> None:
    """With what it should be; unset, empty or right, each is taken."""
    assert shell.variables(variables).startswith(says)
    assert shell.variables(dict.fromkeys(variables, "")) == ""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:placeholder@127.0.0.1:5432/postgres",
        "postgres://postgres@localhost",
        "postgresql://127.0.0.1/postgres",
        "postgresql://u:a:b%40%2F?#=&@[::1]:5432/d?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem",
    ],
)
def test_what_libpq_takes_for_an_address_is_one(url: str) -> None:
    """As it was meant."""
    assert shell.variables({"DATABASE_URL": url, "PROVEN_PGBOUNCER": "sid", "TMPDIR": "/tmp"}) == ""
    assert psycopg.conninfo.conninfo_to_dict(url)


# No message of ours has these letters, and every character is here that an address gives a meaning to.
PASSWORDS = st.text("QXZ790@/:%?#&=+ ", min_size=4)
FORMS = (
    "postgresql://postgres:{}@127.0.0.1:1/db",
    "postgresql://{}@127.0.0.1:1/db",
    "postgresql://postgres:{}@127.0.0.1:99999/db",
    "postgresql://postgres:{}@127.0.0.1:port/db",
    "postgresql://postgres:{}127.0.0.1:1/db",
    "postgresql://127.0.0.1:1/db?password={}",
    "postgresql://127.0.0.1:1/db?passwort={}",
    "postgresql://127.0.0.1:1/db?sslmode={}",
    "postgresql:/postgres:{}@127.0.0.1:1/db",
    "host=127.0.0.1 port=1 password={}",
    "host=127.0.0.1 port=1 password {}",
    "host=127.0.0.1 port=1 password='{}",
    "{}",
)


@given(st.sampled_from(FORMS), PASSWORDS)
@example("postgresql://postgres:{}127.0.0.1:1/db", "00%9")  # the byte that is meant is no character
@settings(max_examples=300, deadline=None)
def test_no_piece_of_a_password_is_said(form: str, password: str) -> None:
    """Whatever is mistyped: neither where the form is looked at, nor where libpq reads it and quotes from it."""
    said = [shell.variables({"DATABASE_URL": form.format(password)})]
    try:
        psycopg.conninfo.conninfo_to_dict(form.format(password))
    except (psycopg.Error, UnicodeError) as error:
        said.append(postgres.why(error))
    for piece in (password[at : at + 4] for at in range(len(password) - 3)):
        assert not [line for line in said if piece in line]


def test_a_server_that_refuses_is_told_of_without_its_password(
    server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do the names stand in the message that libpq would put there; and no failed test shows the address."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://QQQQ:XXXX@{server.host}:{server.port}/ZZZZ")
    with pytest.raises(RuntimeError) as refused:
        postgres.given()
    assert str(refused.value) == "DATABASE_URL names a server that cannot be used: password authentication failed"
    assert refused.value.__suppress_context__
    assert "XXXX" not in repr(postgres.Server("postgresql://QQQQ:XXXX@127.0.0.1/", "127.0.0.1", 5432))


def test_without_git_the_tests_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is none, and where the folder is no checkout."""
    assert shell.git() == ""
    monkeypatch.setattr(shell, "ROOT", tmp_path)
    assert shell.git().startswith(f"{tmp_path} is not a git checkout, and the tests ask git which files there are:")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shell.git() == "git is not on PATH, and the tests ask git which files there are: install git"


def test_a_user_without_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number alone is not enough for initdb."""
    assert shell.user() == ""
    monkeypatch.setattr(shell, "os", SimpleNamespace(getuid=lambda: 54321))
    assert shell.user().startswith("the user id 54321 has no name, and PostgreSQL asks for one: run as a user ")


@pytest.mark.parametrize("target", ["test", "prove", "record", "measure", "matrix"])
def test_make_says_it_before_it_fetches_anything(target: str, clone: Path, tmp_path: Path) -> None:
    """In one line, after which make says that it stops."""
    said = make(clone, target, "ONLY=x", XDG_CACHE_HOME=str(tmp_path), DATABASE_URL="postgresql://u:%QXZ@h/d")
    first, *others = said.stderr.splitlines()
    assert first.startswith("shell: DATABASE_URL is not of the form ")
    assert [line.partition(":")[0] for line in others] == ["make"]
    assert said.stdout == ""
    assert not (clone / ".venv").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PYTHONOPTIMIZE": "1"}, "shell: Python leaves assertions out (-O, PYTHONOPTIMIZE), and tests are made of"),
        ({"PYTHONPATH": "/usr/share"}, "shell: packages on PYTHONPATH would take the place of those in .venv: unset"),
        ({"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}, "shell: files are UTF-8, and Python would"),
        ({"PROVEN_DRIVER": "mysql"}, "shell: PROVEN_DRIVER=mysql is not psycopg2"),
    ],
)
def test_pytest_by_hand_says_it_too(variables: dict[str, str], says: str) -> None:
    """At once, in one line: what Python was started with cannot be undone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", __file__]
    said = subprocess.run(command, cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True)
    (line,) = (said.stdout + said.stderr).splitlines()
    assert line.startswith(says)
    assert said.returncode


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("127.0.0.1:99999", "'127.0.0.1:99999' is not an address and port"),
        ("127.0.0.1:0", "'127.0.0.1:0' is not an address and port"),
        ("127.0.0.1: 8000", "'127.0.0.1: 8000' is not an address and port"),
        ("8000", "'8000' is not an address and port"),
        ("", "'' is not an address and port"),
        ("1.2.3:8000", "1.2.3 is not an address"),
        ("192.0.2.1:8000", "192.0.2.1:8000: Cannot assign requested address"),
        ("127.0.0.1:{taken}", "127.0.0.1:{taken}: Address already in use"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(at: str, says: str, taken: int) -> None:
    """With one that can."""
    with pytest.raises(RuntimeError) as refused:
        address.check(at.format(taken=taken))
    assert str(refused.value).startswith(says.format(taken=taken))
    assert str(refused.value).endswith("as in make serve ADDRESS=127.0.0.1:8001")


def test_make_serve_says_it_before_it_fetches_anything(clone: Path, tmp_path: Path) -> None:
    """Of the whole address, also where there is a space in it."""
    said = make(clone, "serve", "ADDRESS=127.0.0.1: 8000", XDG_CACHE_HOME=str(tmp_path))
    assert said.stderr.startswith("serve: '127.0.0.1: 8000' is not an address and port: ")
    assert not (clone / ".venv").exists()
    assert not list(tmp_path.iterdir())
