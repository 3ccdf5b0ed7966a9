"""Whatever becomes of who brought containers up, nothing is left of them. Needs a Docker engine."""

import subprocess
import sys
from pathlib import Path

import pytest

from proven import ROOT
from tests.stack import docker
from tests.stack.wait import until

OWNER = """
import signal, sys
from pathlib import Path
from tests.stack.docker import Lab
from proven.sources.snippets import read
lab = Lab(Path(sys.argv[1]))
lab.run(read("upstream/compose/secrets.sh"))
lab.compose("up", "--detach", "postgres")
print(lab.name, flush=True)
signal.pause()
"""


@pytest.mark.parametrize(
    ("pinned", "local", "chosen"),
    [
        ("postgres:18.6", ["17", "18"], "18"),
        ("python:3.13.15-slim-trixie", ["3.13-slim", "3.13"], "3.13-slim"),
        ("debian:forky-20261005-slim", ["trixie-slim", "forky-slim"], "forky-slim"),
    ],
)
def test_a_stand_in_is_of_the_series_that_is_pinned(pinned: str, local: list[str], chosen: str) -> None:
    """The one whose tag says the most of it."""
    assert docker.stand_in(pinned, local) == chosen


def test_without_a_stand_in_there_is_one_clear_message() -> None:
    """It names what there is."""
    with pytest.raises(RuntimeError, match=r"no stand-in for postgres:19\.1: there is 17, 18"):
        docker.stand_in("postgres:19.1", ["17", "18"])


def test_nothing_is_left_when_the_owner_is_killed(tmp_path: Path) -> None:
    """Its containers, volume and network go with it."""
    try:
        docker.engine()
    except RuntimeError as error:
        pytest.skip(str(error))
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with owner:
        assert owner.stdout
        name = owner.stdout.readline().strip()
        assert set(docker.left(name)) == {"containers", "volumes", "networks"}
        owner.kill()
    until("nothing is left", lambda: not docker.left(name))
