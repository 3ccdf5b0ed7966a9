"""Makes .venv from requirements.lock; does nothing, and says nothing, where it is up to date.

    python3 -m setup.environment         with everything
    python3 -m setup.environment site    with what shows the site, if there is no more yet

A stamp, written last, says what is in .venv, from what it was made, by which Python and where. Where it says anything
else than it should, .venv is made anew: so it is after an interruption, a new lock, another Python, and in a folder
that was copied or moved.
"""

# Nothing more is imported up here, not pathlib either: every make target begins with this, and would wait for it.
import hashlib
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "stamp")
LOCK = os.path.join(ROOT, "requirements.lock")
# How uv lists each package at the end. What it says before that shows how far it is.
EACH = (" + ", " - ", " ~ ")


def origin() -> str:
    """Return what the stamp says of a .venv that is made of what it should be."""
    digest = hashlib.sha256()
    for path in (LOCK, __file__):
        with open(path, "rb") as file:
            digest.update(file.read())
    return "\n".join([digest.hexdigest(), sys.version, os.path.realpath(sys.executable), VENV])


def content() -> str:
    """Return what is in .venv: "all", "site", or nothing where it is not whole, or not made of what it should be."""
    try:
        with open(STAMP) as stamp:
            found, _, made_from = stamp.read().partition("\n")
    except OSError:
        return ""
    return found if made_from == origin() and os.path.exists(os.path.join(VENV, "bin", "python")) else ""


def make(wanted: str) -> None:
    """Make .venv anew, or complete it. Raises RuntimeError with what to do where that cannot be."""
    import fcntl
    import shutil
    import subprocess
    from pathlib import Path

    from setup import uv

    venv = Path(VENV)
    with open(LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another make may be at it
        found = content()
        if found in ("all", wanted):
            return
        tool = uv.find()

        def run(*arguments: str) -> None:
            # It holds the lock too, and so for as long as it writes, should this process be killed before.
            streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            with subprocess.Popen(
                [tool, *arguments], cwd=ROOT, env=uv.environment(), pass_fds=[lock.fileno()], text=True, **streams
            ) as done:
                for line in done.stderr or ():
                    if not line.startswith(EACH):
                        print(line, end="", file=sys.stderr, flush=True)
            if done.returncode:
                raise RuntimeError("packages could not be installed (see above): fix that, then run make again")

        if not found:
            try:
                if venv.is_symlink():
                    venv.unlink()
                elif venv.exists():
                    shutil.rmtree(venv)
            except PermissionError as error:
                raise RuntimeError(".venv was made by another user: delete it, then run make again") from error
            run("venv", "--quiet", "--python", os.path.realpath(sys.executable), VENV)
        print(f"environment: installing packages into .venv ({wanted})", file=sys.stderr, flush=True)
        options = ["--python", VENV, "--require-hashes", "--only-binary=:all:"]
        if wanted == "site":
            run("pip", "install", *options, "--group", "site", "--constraint", "requirements.lock")
        else:
            run("pip", "sync", *options, "requirements.lock")
        # Commands in .venv find `proven` and `tests` as they would after an editable installation.
        packages = venv / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        (packages / "proven.pth").write_text(ROOT + "\n")
        Path(STAMP).write_text(f"{wanted}\n{origin()}")


def main(wanted: str = "all") -> None:
    """Make .venv where it is not what is wanted. Exits with a message where that cannot be."""
    if content() in ("all", wanted):
        return
    try:
        make(wanted)
    except (OSError, RuntimeError) as problem:
        sys.exit(f"environment: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
