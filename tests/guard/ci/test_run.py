"""`.ci/run` tests on a bare machine first, then with a Docker engine that it lends itself, and gives back.

Engine, lab, bare machine and make are small scripts here.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from proven import ROOT

DOCKER = """\
#!/bin/sh
[ -n "$DOCKER_HOST" ]
"""
# It is running while there is a file of this name.
LAB = """\
#!/bin/sh
echo "$1" >> "$STATE/orders"
case $1 in
    env) [ ! -e "$STATE/running" ] || echo export DOCKER_HOST=lab ;;
    start) [ ! -e "$STATE/broken" ] || exit 1; touch "$STATE/running"; echo export DOCKER_HOST=lab ;;
    stop) rm "$STATE/running" ;;
esac
"""
BARE = """\
#!/bin/sh
[ "$1 $2" = "run ." ] || exit 9
shift 2
mkdir "$STATE/bare"
cd "$STATE/bare"
BARE=yes exec "$@"
"""
ID = """\
#!/bin/sh
echo "${WHO:-0}"
"""
MAKE = """\
#!/bin/sh
if [ "$BARE" ]; then
    echo "bare: $*, CI $CI"
    mkdir -p build/known
    echo seen > build/known/page.json
    exit "${BARE_STATUS:-0}"
fi
echo "engine ${DOCKER_HOST:-none}, stand-ins ${PROVEN_STAND_INS:-none}"
[ ! -e "$STATE/another" ] || { rm "$STATE/another"; "$RUN"; }
exit "${STATUS:-0}"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A clone with a lab beside it, on a machine whose docker reaches no engine of its own, as root."""
    scripts = {"bin/docker": DOCKER, "bin/id": ID, "bin/make": MAKE, "shared/lab/docker": LAB}
    for name, text in scripts.items():
        script(tmp_path / name, text)
    (tmp_path / "clone/.ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", tmp_path / "clone/.ci/run")
    return tmp_path


def script(file: Path, text: str) -> None:
    """Write a program."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def run(machine: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it as a CI does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER", "PROVEN"))}
    environment |= {
        "PATH": f"{machine}/bin:{os.environ['PATH']}",
        "XDG_CACHE_HOME": f"{machine}/cache",
        "STATE": str(machine),
        "RUN": f"{machine}/clone/.ci/run",
    }
    command = [machine / "clone/.ci/run"]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True)


def orders(machine: Path) -> list[str]:
    """Return what the lab was told."""
    file = machine / "orders"
    return file.read_text().split() if file.exists() else []


def test_an_engine_is_started_for_the_tests_and_stopped_after_them(machine: Path) -> None:
    """Also where they fail: with their status."""
    result = run(machine, STATUS="3")
    assert (result.stdout, result.returncode) == ("engine lab, stand-ins 1\n", 3)
    assert orders(machine) == ["env", "start", "stop"]


def test_one_that_runs_already_goes_on(machine: Path) -> None:
    """Somebody else has started it."""
    (machine / "running").touch()
    assert run(machine).stdout == "engine lab, stand-ins 1\n"
    assert "stop" not in orders(machine)


def test_of_two_runs_the_last_stops_it(machine: Path) -> None:
    """While another one uses it, it stays."""
    (machine / "another").touch()
    assert run(machine).stdout == "engine lab, stand-ins 1\n" * 2
    assert orders(machine).count("stop") == 1
    assert orders(machine)[-1] == "stop"


def test_an_engine_of_the_machine_is_taken(machine: Path) -> None:
    """With its images, which are no stand-ins."""
    assert run(machine, DOCKER_HOST="its own").stdout == "engine its own, stand-ins none\n"
    assert orders(machine) == []


@pytest.mark.parametrize("missing", [True, False])
def test_without_an_engine_the_tests_run_all_the_same(machine: Path, missing: bool) -> None:
    """Where there is no lab, and where there is one that cannot start here."""
    if missing:
        (machine / "shared/lab/docker").unlink()
    else:
        (machine / "broken").touch()
    result = run(machine)
    assert (result.stdout, result.returncode) == ("engine none, stand-ins none\n", 0)
    assert not (machine / "running").exists()


def test_a_bare_machine_comes_first(machine: Path) -> None:
    """As an ordinary user, which is what that one takes where it is not told otherwise; what it knows comes back."""
    script(machine / "shared/lab/bare", BARE)
    result = run(machine)
    assert (result.stderr, result.stdout) == ("bare: test, CI true\n", "engine lab, stand-ins 1\n")
    assert (machine / "clone/build/known/page.json").read_text() == "seen\n"


def test_what_fails_on_a_bare_machine_fails(machine: Path) -> None:
    """With its status, and nothing else is tried."""
    script(machine / "shared/lab/bare", BARE)
    result = run(machine, BARE_STATUS="3")
    assert (result.stderr, result.stdout, result.returncode) == ("bare: test, CI true\n", "", 3)
    assert orders(machine) == []


def test_only_root_can_make_a_bare_machine(machine: Path) -> None:
    """Whoever is not goes on without."""
    script(machine / "shared/lab/bare", BARE)
    assert run(machine, WHO="1000").stdout == "engine lab, stand-ins 1\n"
