"""The site as it is published, built once a run, strictly, for all tests and parallel workers that look at it."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proven import ROOT

# Where it says that it is: at the root of a host, so that it can be served and looked at from anywhere.
URL = "https://guide.example/"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site's folder."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "site"
    with folder.with_name("site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be at it
        if not folder.exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", f"{folder}.part"]
            result = subprocess.run(
                command, cwd=ROOT, env={**os.environ, "SITE_URL": URL}, capture_output=True, text=True
            )
            assert result.returncode == 0, result.stderr
            Path(f"{folder}.part").rename(folder)
    return folder
