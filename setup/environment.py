"""Makes .venv from requirements.lock; does nothing, and says nothing, where it is up to date.

    python3 -m setup.environment

A stamp, written last, says what .venv was made from, by which Python and where. Where it says anything else, .venv is
made anew: so it is after an interruption, a new lock, another Python, and in a folder that was copied or moved.
"""

# Nothing more is imported up here, not pathlib either: every make target begins with this, and would wait for it.
import hashlib
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "stamp")
LOCK = os.path.join(ROOT, "requirements.lock")


def wanted() -> str:
    """Return what the stamp says where .venv is up to date."""
    digest = hashlib.sha256()
    for path in (LOCK, __file__):
        with open(path, "rb") as file:
            digest.update(file.read())
    return "\n".join([digest.hexdigest(), sys.version, os.path.realpath(sys.executable), VENV])


def up_to_date() -> bool:
    """Return whether .venv is whole, and made of what it should be."""
    try:
        with open(STAMP) as stamp:
            return stamp.read() == wanted() and os.path.exists(os.path.join(VENV, "bin", "python"))
    except OSError:
        return False


def make() -> None:
    """Make .venv anew. Raises RuntimeError with what to do where that cannot be."""
    import fcntl
    import shutil
    import subprocess
    from pathlib import Path

    from setup import uv

    venv = Path(VENV)
    with open(LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another make may be at it
        if up_to_date():
            return
        count = sum("==" in line for line in lock)
        tool = uv.find()

        def run(*arguments: str) -> None:
            # It holds the lock too, and so for as long as it writes, should this process be killed before.
            done = subprocess.run(
                [tool, *arguments], cwd=ROOT, env=uv.environment(), stdin=subprocess.DEVNULL, pass_fds=[lock.fileno()]
            )
            if done.returncode:
                raise RuntimeError("packages could not be installed (above: why); mend that, then run make again")

        try:
            if venv.is_symlink():
                venv.unlink()
            elif venv.exists():
                shutil.rmtree(venv)
        except PermissionError as error:
            raise RuntimeError(".venv was made by another user: delete it, then run make again") from error
        print(f"environment: installing {count} packages into .venv", file=sys.stderr, flush=True)
        run("venv", "--quiet", "--python", os.path.realpath(sys.executable), VENV)
        options = ["--quiet", "--require-hashes", "--only-binary=:all:"]
        run("pip", "sync", *options, "--python", VENV, "requirements.lock")
        # Commands in .venv find `proven` and `tests` as they would after an editable installation.
        packages = venv / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        (packages / "proven.pth").write_text(ROOT + "\n")
        Path(STAMP).write_text(wanted())


if __name__ == "__main__" and not up_to_date():
    try:
        make()
    except (OSError, RuntimeError) as problem:
        sys.exit(f"environment: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
