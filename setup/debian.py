"""A program from the distribution's packages, without root: nothing is installed, nothing of the machine's apt changes.

apt runs on a state of its own: its own lists, its own sources (the machine's mirror, the suite that is asked for with
its updates and security updates) and an empty list of installed packages. What it downloads, and checks against
Debian's signatures, is unpacked into the cache. Such a program may come from a newer suite than the machine's: it runs
through that suite's own dynamic loader.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setup import cache, progress

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
# How the machine reaches its mirror: proxies, certificates, retries. Not which other lists it fetches.
TRANSPORT = re.compile(r"^Acquire::(?!IndexTargets|Languages|Changelogs).*", re.MULTILINE)
# A program is fetched again after so many days: what was safe then may no longer be.
DAYS = 30
# It changes all the time, and so has no suites of updates and security updates.
UNSTABLE = "sid"


def fetch(package: str, *suites: str, beside: tuple[str, ...] = ()) -> Path:
    """Return a folder that holds a package and its shared libraries, from the first of the suites that offers it.

    Without suites, the machine's own. `beside` names packages that it needs besides libraries. Raises
    RuntimeError where this is no Debian, or nothing can be fetched.
    """

    def make(part: Path) -> None:
        own, mirror, security = _mirror()
        said = []
        for suite in suites or (own,):
            print(f"{package}: fetching it from Debian {suite}, installing nothing", file=sys.stderr, flush=True)
            try:
                return _unpack([package, *beside], sources(suite, mirror, security), part)
            except subprocess.CalledProcessError as error:
                said.append(f"{suite}: {_reason(error.stderr)}")
        raise RuntimeError(f"{package} cannot be fetched from Debian ({'; '.join(said)})")

    return cache.fresh("-".join(["debian", package, *beside, *suites]), make, DAYS)


def loader(folder: Path) -> Path:
    """Return the unpacked dynamic loader: through it a program of another suite than the machine's runs."""
    return next(path for path in sorted(folder.rglob("ld-linux*.so.*")) if not path.is_symlink())


def libraries(folder: Path) -> list[Path]:
    """Return the folders that hold shared libraries: also those named after a release, as in libpulsecommon-16.1.so."""
    return sorted({path.parent for path in folder.rglob("lib*.so*")})


def library(name: str) -> Path:
    """Return a folder that holds a shared library, such as "libatomic.so.1", from the machine's own suite.

    Raises RuntimeError where no package has the name that one with the library would have.
    """
    said = []
    for package in packages_with(name):
        try:
            return fetch(package)
        except RuntimeError as error:
            said.append(str(error))
    raise RuntimeError(said[0] if said else "no package is called after it")


def packages_with(library: str) -> list[str]:
    """Return what a package with a shared library may be called.

    Source: Debian Policy, section 8.1; since Debian 13 some end in t64, for 64 bits of time.
    """
    found = re.fullmatch(r"(lib[\w.+-]+?)\.so(?:\.(\d[\d.]*))?", library)
    if found is None:
        return []
    name, number = found[1].lower().replace("_", "-"), found[2] or ""
    package = f"{name}-{number}" if number and name[-1].isdecimal() else name + number
    return [package, f"{package}t64"]


def sources(suite: str, mirror: str, security: str) -> list[str]:
    """Return a suite's lines for apt: a suite is its release, its updates and its security updates."""
    signed = f"deb [signed-by={KEYS}]"
    base = f"{signed} {mirror} {suite} main"
    if suite == UNSTABLE:
        return [base]
    return [base, f"{signed} {mirror} {suite}-updates main", f"{signed} {security} {suite}-security main"]


def _mirror() -> tuple[str, str, str]:
    """Return this machine's suite of Debian, and its apt's mirrors: for packages, and for security updates."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    suite = system.get("VERSION_CODENAME", "")
    if system.get("ID") != "debian" or not shutil.which("apt-get"):
        raise RuntimeError("packages can be fetched without root on Debian only")
    # Not `apt-get indextargets`: it prints nothing where the lists were cleaned away, as in container images.
    uris = subprocess.run(["apt-get", "--print-uris", "update"], capture_output=True, text=True).stdout

    def mirror(suite: str) -> str | None:
        found = re.search(rf"^'(\S+)/dists/{re.escape(suite)}/InRelease'", uris, re.MULTILINE)
        return found and found[1]

    own = mirror(suite)
    if own is None:
        raise RuntimeError(f"this machine's apt names no mirror for {suite}")
    return suite, own, mirror(f"{suite}-security") or f"{own}-security"


def _unpack(packages: list[str], sources: list[str], target: Path) -> None:
    """Unpack packages and their libraries into a folder. Raises CalledProcessError where apt cannot fetch them."""
    state = target / "apt"
    shutil.rmtree(state, ignore_errors=True)
    archives = state / "archives"
    for folder in (state / "lists/partial", archives / "partial", state / "none"):
        folder.mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text("\n".join(sources) + "\n")
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
        "APT::Sandbox::User": "root",  # another user could not write here
        "Debug::NoLocking": "true",
    }
    lines = [*TRANSPORT.findall(machine), *(f'{name} "{value}";' for name, value in settings.items())]
    (state / "apt.conf").write_text("\n".join(lines) + "\n")

    def apt(*arguments: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(state / "apt.conf"), "LC_ALL": "C"}
        options = {"stdin": subprocess.DEVNULL, "check": True, "capture_output": True, "text": True}
        return subprocess.run(arguments, cwd=archives, env=environment, **options).stdout

    try:
        apt("apt-get", "update", "--error-on=any")
    except subprocess.CalledProcessError as error:
        if len(sources) == 1:
            raise
        (state / "sources.list").write_text(sources[0] + "\n")
        apt("apt-get", "update", "--error-on=any")
        print(
            f"{packages[0]}: fetched without updates, so it may have known holes ({_reason(error.stderr)})",
            file=sys.stderr,
        )
    depends = apt("apt-cache", "depends", "--recurse", "--important", *packages)
    wanted = _libraries(packages, depends, apt("apt-cache", "show", *_names(depends)))
    with progress.of_files(packages[0], archives, len(wanted)):
        apt("apt-get", "download", *wanted)
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, target], check=True, capture_output=True, text=True)
    shutil.rmtree(state)


def _names(depends: str) -> list[str]:
    """Return the packages that `apt-cache depends` lists, without the virtual ones."""
    return sorted(set(re.findall(r"^([\w.+:-]+)$", depends, re.MULTILINE)))


def _libraries(packages: list[str], depends: str, shown: str) -> set[str]:
    """Return packages, the shared libraries that they need, and those that these need: only libraries are followed."""
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
