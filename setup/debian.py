"""A program from the distribution's packages, without root: nothing is installed, nothing of the machine's apt changes.

apt runs on a state of its own: its own lists, its own sources (the machine's mirror, the suite that is asked for) and
an empty list of installed packages. What it downloads, and checks against Debian's signatures, is unpacked into the
cache. Such a program may come from a newer suite than the machine's: it runs through that suite's own dynamic loader.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setup import cache

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
# How the machine reaches its mirror: proxies, certificates, retries. Not what else it wants to know of packages.
TRANSPORT = re.compile(r"^Acquire::(?!IndexTargets|Languages|Changelogs).*", re.MULTILINE)


def fetch(package: str, *suites: str, beside: tuple[str, ...] = ()) -> Path:
    """Return a folder that holds a package and its shared libraries, from the first of the suites that offers it.

    Without suites, the machine's own. `beside` names packages that it needs and that are no libraries. Raises
    RuntimeError where this is no Debian, or nothing can be fetched.
    """

    def make(part: Path) -> None:
        mirror, own = _mirror()
        said = []
        for suite in suites or (own,):
            print(f"{package}: fetching it from Debian {suite}, installing nothing", file=sys.stderr, flush=True)
            try:
                return _unpack([package, *beside], mirror, suite, part)
            except subprocess.CalledProcessError as error:
                said.append(f"{suite}: {_reason(error.stderr)}")
        raise RuntimeError(f"{package} cannot be fetched from Debian ({'; '.join(said)})")

    return cache.kept("-".join(["debian", package, *beside, *suites]), make)


def command(folder: Path, program: str) -> list[str]:
    """Return the command that runs an unpacked program: command(folder, "usr/sbin/pgbouncer").

    It names the unpacked dynamic loader and libraries, so that the machine's own, which may be older, play no part.
    """
    loader = next(path for path in sorted(folder.rglob("ld-linux*.so.*")) if not path.is_symlink())
    return [str(loader), "--library-path", ":".join(map(str, _libraries_in(folder))), str(folder / program)]


def library_path(folder: Path) -> str:
    """Return the value of LD_LIBRARY_PATH with which a program of the machine's own suite runs unpacked.

    For one that starts itself again, which a dynamic loader in front of it prevents. What the machine has comes first.
    """
    unpacked = _libraries_in(folder)
    return ":".join(str(path) for path in [*(Path("/") / path.relative_to(folder) for path in unpacked), *unpacked])


def _libraries_in(folder: Path) -> list[Path]:
    """Return the folders that hold shared libraries: also those named after a release, as in libpulsecommon-16.1.so."""
    return sorted({path.parent for path in folder.rglob("lib*.so*")})


def _mirror() -> tuple[str, str]:
    """Return the address of the Debian mirror that this machine's apt uses, and the machine's suite."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    suite = system.get("VERSION_CODENAME", "")
    if system.get("ID") != "debian" or not shutil.which("apt-get"):
        raise RuntimeError("packages can be fetched without root on Debian only")
    # Not `apt-get indextargets`: it is silent where the lists were cleaned away, as container images do.
    uris = subprocess.run(["apt-get", "--print-uris", "update"], capture_output=True, text=True)
    found = re.search(rf"^'(\S+)/dists/{re.escape(suite)}/InRelease'", uris.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(f"this machine's apt names no mirror for {suite}")
    return found[1], suite


def _unpack(packages: list[str], mirror: str, suite: str, target: Path) -> None:
    """Unpack packages and their libraries into a folder. Raises CalledProcessError where apt cannot fetch them."""
    state = target / "apt"
    shutil.rmtree(state, ignore_errors=True)
    archives = state / "archives"
    for folder in (state / "lists/partial", archives / "partial", state / "none"):
        folder.mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={KEYS}] {mirror} {suite} main\n")
    machine = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    settings = {
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": state / "none",
        "Dir::Etc::Main": state / "none",  # the machine's hooks are about the machine's packages
        "Dir::Etc::Parts": state / "none",
        "Dir::State::Lists": state / "lists",
        "Dir::State::Status": state / "status",
        "Dir::Cache": state,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # another could not write here
        "Debug::NoLocking": "true",
    }
    lines = [*TRANSPORT.findall(machine), *(f'{name} "{value}";' for name, value in settings.items())]
    (state / "apt.conf").write_text("\n".join(lines) + "\n")

    def apt(*arguments: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(state / "apt.conf"), "LC_ALL": "C"}
        options = {"stdin": subprocess.DEVNULL, "check": True, "capture_output": True, "text": True}
        return subprocess.run(arguments, cwd=archives, env=environment, **options).stdout

    apt("apt-get", "update", "--error-on=any")
    depends = apt("apt-cache", "depends", "--recurse", "--important", *packages)
    apt("apt-get", "download", *_libraries(packages, depends, apt("apt-cache", "show", *_names(depends))))
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, target], check=True, capture_output=True, text=True)
    shutil.rmtree(state)


def _names(depends: str) -> list[str]:
    """Return the packages that `apt-cache depends` lists, without the virtual ones."""
    return sorted(set(re.findall(r"^([\w.+:-]+)$", depends, re.MULTILINE)))


def _libraries(packages: list[str], depends: str, shown: str) -> set[str]:
    """Return packages and the shared libraries that they need, and these need: only a library leads on to others."""
    libraries = set()
    for stanza in shown.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Section): (.*)$", stanza, re.MULTILINE))
        if fields.get("Section") in ("libs", "oldlibs"):
            libraries.add(fields["Package"])
    needs: dict[str, list[str]] = {}
    of = ""
    for line in depends.splitlines():
        if not line.startswith(" "):
            of = line
        elif found := re.match(r"  (?:Pre)?Depends: ([\w.+-]+)", line):
            needs.setdefault(of, []).append(found[1])
    closed: set[str] = set()
    to_do = [*packages]
    while to_do:
        name = to_do.pop()
        if name not in closed:
            closed.add(name)
            to_do += [need for need in needs.get(name, []) if need in libraries]
    return closed


def _reason(errors: str) -> str:
    """Return the first error that apt names: the others follow from it."""
    named = re.search(r"^E: (.*)$", errors, re.MULTILINE)
    return named[1].strip() if named else errors.strip()
