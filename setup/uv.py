"""uv, which installs everything else: the one on PATH, else one of our own, at the version that the lock pins."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setup import cache, debian

ROOT = Path(__file__).resolve().parent.parent
# What pip is told and uv would ignore. A variable that uv knows takes precedence where both are set.
PASSED_ON = {"PIP_INDEX_URL": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"), "PIP_CERT": ("SSL_CERT_FILE",)}


def find() -> str:
    """Return the path of uv, installed into the cache where the machine has none.

    Raises RuntimeError where it cannot be installed.
    """
    outside = [folder for folder in os.get_exec_path() if not Path(folder).is_relative_to(ROOT / ".venv")]
    found = shutil.which("uv", path=os.pathsep.join(outside))
    if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
        return found
    pinned = re.search(r"^uv==(\S+).*\n(?: +--hash=.*\n)+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    if not pinned:
        raise RuntimeError("requirements.lock pins no uv: install uv, then run make lock")

    def make(part: Path) -> None:
        print(f"environment: installing uv {pinned[1]} into {part.parent}", file=sys.stderr, flush=True)
        requirement = part / "requirements.txt"
        requirement.write_text(pinned[0])
        options = ["-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        result = subprocess.run(
            [*_pip(), "install", *options, "--target", part, "--requirement", requirement],
            # The first two do not work with --target.
            env={**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_ROOT_USER_ACTION": "ignore"},
            stdin=subprocess.DEVNULL,
        )
        if result.returncode:
            raise RuntimeError("uv could not be installed (see above): install uv or fix that, then run make again")

    return str(cache.kept(f"uv-{pinned[1]}-{sysconfig.get_platform()}", make) / "bin" / "uv")


def environment() -> dict[str, str]:
    """Return the environment in which uv runs: it finds the index and the certificates that pip was given."""
    found = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    for theirs, ours in PASSED_ON.items():
        if theirs in found and not any(name in found for name in ours):
            found[ours[0]] = found[theirs]
    return found


def _pip() -> list[str]:
    """Return the command that runs pip. Debian's Python comes without pip: there, it runs from Debian's wheel."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    try:
        folder = debian.fetch("python3-pip-whl")
    except RuntimeError as error:
        raise RuntimeError(f"there is neither uv nor pip ({error}): install one, then run make again") from error
    wheel = next((folder / "usr/share/python-wheels").glob("pip-*.whl"))
    return [sys.executable, str(wheel / "pip")]
