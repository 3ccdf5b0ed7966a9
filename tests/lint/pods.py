"""What a pod promises beside what its schema knows: whose files it finds, who it is, what it may do and asks for."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from proven.problems import Problem, nearest
from proven.sources import snippets
from tests.lint import promised
from tests.lint.manifests import Document, Keys

POD = ("spec", "template", "spec")
# The Pod Security Standard "restricted", and files that nobody can write to.
OF_POD = {
    ("automountServiceAccountToken",): False,
    ("securityContext", "runAsNonRoot"): True,
    ("securityContext", "seccompProfile", "type"): "RuntimeDefault",
}
OF_CONTAINER = {
    ("securityContext", "allowPrivilegeEscalation"): False,
    ("securityContext", "readOnlyRootFilesystem"): True,
    ("securityContext", "capabilities", "drop"): ["ALL"],
}
USERS = ("runAsUser", "runAsGroup", "fsGroup")
QUANTITY = re.compile(r"(\d+)(m|Mi|Gi)?")
UNITS = {None: 1000, "m": 1, "Mi": 1, "Gi": 1024}  # processors by thousandths, memory by MiB
KNOWN = {  # words that the schemas leave open
    "topologyKey": ("kubernetes.io/hostname", "topology.kubernetes.io/zone"),
    "whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway"),
    "policyTypes": (["Ingress"], ["Egress"], ["Ingress", "Egress"]),
    "protocol": ("TCP",),
    "medium": ("", "Memory"),
}
SAFE = (1, 26, 1)
ISREADY = "/usr/bin/pg_isready"
LIBPQ = {"PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT"}
SSLMODES = ("allow", "disable", "prefer", "require", "verify-ca", "verify-full")


def problems(of: Document) -> list[Problem]:
    """Return which promises a document does not keep."""
    return [of.problem(keys, message) for check in CHECKS for keys, message in check(of)]


def _words(of: Document) -> Iterator[tuple[Keys, str]]:
    """Each word is one that Kubernetes knows."""
    for name, known in KNOWN.items():
        for keys, value in of.find(name):
            if value not in known:
                yield keys, f"{name} is one of {', '.join(map(str, known))}"


def _rights(of: Document) -> Iterator[tuple[Keys, str]]:
    """Nobody is root, nor can become it, nor write where nothing is to be written; a patch says it of its own."""
    whole = of.get(*POD, "securityContext") is not None
    wanted: dict[Keys, Any] = {(*POD, *keys): value for keys, value in OF_POD.items()} if whole else {}
    wanted |= {(*POD, "securityContext", name): _user() for name in USERS} if whole else {}
    for at, container in _containers(of):
        if "image" in container:
            wanted |= {(*at, *keys): value for keys, value in OF_CONTAINER.items()}
    for keys, value in wanted.items():
        if of.get(*keys) != value:
            yield keys, f"{keys[-1]} is {value} for who runs restricted"


def _files(of: Document) -> Iterator[tuple[Keys, str]]:
    """Each volume is mounted by its name, read-only where it holds files; and what is read lies in one."""
    volumes = {each["name"]: each for each in of.get(*POD, "volumes") or []}
    mounted = set()
    for at, container in _containers(of):
        mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
        for number, mount in enumerate(mounts.values()):
            mounted.add(mount["name"])
            if mount["name"] not in volumes:
                yield (
                    (*at, "volumeMounts", number),
                    f"no volume is called {mount['name']}{nearest(mount['name'], volumes)}",
                )
            elif "emptyDir" not in volumes[mount["name"]] and not mount.get("readOnly"):
                yield (*at, "volumeMounts", number), f"{mount['name']} is to be read, and no more: readOnly"
        read = container.get("command", [])[1:]
        read += [each["value"] for each in container.get("env", []) if each["name"] == "PGSSLROOTCERT"]
        for file in [*read, *(["/tmp/any"] if "env" in container and mounts else [])]:
            if str(PurePosixPath(file).parent) not in mounts:
                yield at, f"nothing is mounted where {file} is looked for"
        if (command := container.get("command")) and command[0] != "/usr/sbin/pgbouncer":
            yield (*at, "command"), f"the image has no {command[0]}"
        for word in read:
            if not word.endswith(("/pgbouncer.ini", "/ca.crt")):
                yield at, f"no file is called {word}"
    for name in volumes.keys() - mounted:
        yield (*POD, "volumes"), f"nobody mounts the volume {name}"
    for keys, mode in of.find("defaultMode"):
        if mode & 0o337:
            yield keys, f"{mode:04o} lets more than the group read: 0440"


def _environment(of: Document) -> Iterator[tuple[Keys, str]]:
    """Each variable is one that somebody reads, and leads to what is there."""
    read = LIBPQ | _read()
    for at, container in _containers(of):
        given = {each["name"]: each.get("value", "") for each in container.get("env", [])}
        for number, (name, value) in enumerate(given.items()):
            keys = (*at, "env", number)
            if name not in read:
                yield keys, f"nobody reads {name}{nearest(name, read)}"
            if name == "DJANGO_SETTINGS_MODULE" and f"upstream/{value.replace('.', '/')}.py" not in snippets.paths():
                yield keys, f"no settings are called {value}"
            if name.startswith("DATABASE_") and (wrong := _address(value)):
                yield keys, wrong
        whole = len(given) > 1  # a patch names what it changes
        for name in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "DJANGO_ALLOWED_HOSTS", "GUNICORN_BIND"):
            if whole and name not in given:
                yield (*at, "env"), f"{name} is not there"


def _probes(of: Document) -> Iterator[tuple[Keys, str]]:
    """Each asks for a page that is there, at a host that Django answers to."""
    for at, container in _containers(of):
        given = {each["name"]: each.get("value", "") for each in container.get("env", [])}
        hosts = given.get("DJANGO_ALLOWED_HOSTS", "").split(",")
        for keys, asked in Document(of.path, container, of.node).find("httpGet"):
            if asked["path"] not in paths():
                yield (*at, *keys), f"the project has no {asked['path']}{nearest(asked['path'], paths())}"
            if not [each for each in asked["httpHeaders"] if each["name"] == "Host" and each["value"] in hosts]:
                yield (*at, *keys), "Django answers to the hosts in DJANGO_ALLOWED_HOSTS: name one as Host"


def _images(of: Document) -> Iterator[tuple[Keys, str]]:
    """PgBouncer is one that is safe, asked by what its image has, as a role that is there."""
    for at, container in _containers(of):
        name, _, tag = str(container.get("image", "")).rpartition("/")[2].partition(":")
        if name == "pgbouncer" and tuple(map(int, re.findall(r"\d+", tag))) < SAFE:
            yield (*at, "image"), f"PgBouncer {tag} is not safe: {'.'.join(map(str, SAFE))} or newer"
        program, *options = container.get("startupProbe", {}).get("exec", {}).get("command") or [ISREADY]
        known = {f"--username={role}" for role in promised.roles()} | {
            f"--dbname={one}" for one in promised.databases()
        }
        unknown = [each for each in options if each.startswith(("--username", "--dbname")) and each not in known]
        if program != ISREADY or unknown:
            yield (*at, "startupProbe"), f"{' '.join(unknown) or program} is not there"


def _resources(of: Document) -> Iterator[tuple[Keys, str]]:
    """What is asked for fits under the limit."""
    for keys, resources in of.find("resources"):
        limits = {name: _size(str(value)) for name, value in resources.get("limits", {}).items()}
        for group in ("requests", "limits"):
            for name, value in resources.get(group, {}).items():
                size = _size(str(value))
                if size is None or size > (limits.get(name) or size):
                    yield (*keys, group, name), f"{value}: an amount like 100m or 64Mi, at most the limit"


def _rollout(of: Document) -> Iterator[tuple[Keys, str]]:
    """A new pod is there before an old one goes, and a drained node leaves one."""
    if rolling := of.get("spec", "strategy", "rollingUpdate"):
        if rolling.get("maxUnavailable") != 0 or not rolling.get("maxSurge"):
            yield ("spec", "strategy"), "a new pod is ready before an old one goes: maxSurge 1, maxUnavailable 0"
        if of.get("spec", "replicas") < 2:
            yield ("spec", "replicas"), "one pod is none while its node is drained"
    if of.get("kind") == "PodDisruptionBudget" and of.get("spec", "maxUnavailable") != 1:
        yield ("spec", "maxUnavailable"), "of two pods one may go"


CHECKS = (_words, _rights, _files, _environment, _probes, _images, _resources, _rollout)


def _containers(of: Document) -> Iterator[tuple[Keys, dict[str, Any]]]:
    for group in ("initContainers", "containers"):
        for number, container in enumerate(of.get(*POD, group) or []):
            yield (*POD, group, number), container


def _address(url: str) -> str:
    """Return what is wrong with who connects, to what, and how."""
    found = re.fullmatch(r"\w+://(\w+)@[^/]+/(\w+?)(?:_session)?(?:\?sslmode=([\w-]+))?", url)
    if not found or found[1] not in promised.roles() or found[2] not in promised.databases():
        return "roles.sql makes no such role, or no such database"
    return "" if (found[3] or SSLMODES[0]) in SSLMODES else f"sslmode is one of {', '.join(SSLMODES)}"


def _size(text: str) -> int | None:
    found = QUANTITY.fullmatch(text)
    return int(found[1]) * UNITS[found[2]] if found else None


@cache
def _user() -> int:
    """Return who both images run as."""
    users = {
        user
        for folder in ("pgbouncer", "upstream")
        for user in re.findall(r"^USER (\d+):\1$", snippets.read(f"{folder}/Dockerfile").text, re.MULTILINE)
    }
    (user,) = users
    return int(user)


@cache
def _read() -> set[str]:
    """Return the variables that the example project reads."""
    sources = [path for path in snippets.paths() if path.startswith("upstream/") and path.endswith(".py")]
    names = {name for path in sources for name in re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', snippets.read(path).text)}
    return names | {"GUNICORN_CMD_ARGS"}


@cache
def paths() -> set[str]:
    """Return the paths of the example project."""
    return {f"/{path}" for path in re.findall(r'path\("([^"]+)"', snippets.read("upstream/urls.py").text)}
