"""Manifests for Kubernetes: every field is one that Kubernetes knows, and the files agree with each other."""

import functools
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from proven.problems import Problem
from tests.lint import manifests, pods, promised
from tests.lint.manifests import Document, Keys, entry, setting

VERSIONS = ("1.34", "1.37")  # an older one that many run, and the newest known here
SCHEMAS = f"Kubernetes' schemas of {' and '.join(VERSIONS)}, kubernetes-validate {version('kubernetes-validate')}"
SECRET = re.compile(r"^(?:\S.*\| *)?\s*apply (?P<name>[a-z0-9][a-z0-9.-]*)(?P<options>.*)$", re.MULTILINE)
OF_SECRET = re.compile(r"--from-file=([^\s=]+)")
POD = ("spec", "template", "spec")


def judge(version: str, manifest: Any) -> Draft202012Validator:
    """Return what judges a manifest: Kubernetes' own schema of its kind, in which no field may stand that it lacks.

    Raises LookupError where that version has no such kind.
    """
    return _judge(version, str(manifest.get("kind")), str(manifest.get("apiVersion")))


@functools.cache
def _judge(version: str, kind: str, api: str) -> Draft202012Validator:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    try:
        schema = _schema(version, f"{kind.lower()}-{group}")
    except FileNotFoundError:
        raise LookupError(f"Kubernetes {version} has no {kind} in {api}") from None
    return Draft202012Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Any:
    """Return the definitions that every schema of a version draws on."""
    return (Resource.from_contents(_schema(version, "_definitions")) @ Registry()).crawl()


def _schema(version: str, name: str) -> dict[str, Any]:
    folder = files("kubernetes_validate") / f"kubernetes-json-schema/v{version}.0-local-strict"
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def merged(manifest: Any, patch: Any) -> Any:
    """Return a manifest with a strategic merge patch: lists of what has a name are merged by it, others replaced."""
    if isinstance(manifest, dict) and isinstance(patch, dict):
        names = [*manifest, *(name for name in patch if name not in manifest)]
        return {
            name: merged(manifest.get(name, patch.get(name)), patch.get(name, manifest.get(name))) for name in names
        }
    named = isinstance(patch, list) and all(isinstance(item, dict) and "name" in item for item in patch)
    if isinstance(manifest, list) and named:
        patches = {item["name"]: item for item in patch}
        kept = [merged(item, patches.pop(item["name"], item)) for item in manifest]
        return [*kept, *patches.values()]
    return patch


def problems(texts: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with manifests that are applied together, and the script that makes their Secrets."""
    found: list[Problem] = []
    for path, text in texts.items():
        if path.endswith(".yaml"):
            for version in VERSIONS:
                found += manifests.problems(path, text, functools.partial(judge, version))
    return sorted(set(found)) or _disagreements(texts)


def _disagreements(texts: Mapping[str, str]) -> list[Problem]:
    """Return where files that are each right do not fit together."""
    known = [
        document
        for path, text in texts.items()
        if path.endswith(".yaml")
        for document in manifests.documents(path, text)
    ]
    scripts = [text for path, text in texts.items() if path.endswith(".sh")]
    secrets = {name: {*OF_SECRET.findall(options)} for text in scripts for name, options in SECRET.findall(text)}
    inis = {of.get("metadata", "name"): of for of in known if of.get("kind") == "ConfigMap"}
    found: list[Problem] = []
    for of in known:
        found += [*manifests.unpinned(of), *pods.problems(of)]
        if ini := of.get("data", "pgbouncer.ini"):
            found += manifests.ini_problems(of, ("data", "pgbouncer.ini"))
            found += promised.problems(of.path, str(ini), of.line(("data", "pgbouncer.ini")))
            if setting(ini, "server_tls_sslmode") != manifests.VERIFIED:
                found.append(of.problem(("data", "pgbouncer.ini"), manifests.UNVERIFIED))
        found += _missing(of, {*secrets}, set(inis))
        found += _selecting_nothing(of, known)
        if of.get(*POD):
            found += _addresses(of, known, inis)
            found += _ports(of, inis)
            found += _unmounted(of, secrets, inis)
            found += _clients(of, known, inis)
            found += _grace(of)
    return sorted(set(found))


def _missing(of: Document, secrets: set[str], configs: set[str]) -> list[Problem]:
    """Return the Secrets and ConfigMaps that are named and not made."""
    found = []
    for kind, names in {"secret": secrets, "secretRef": secrets, "configMap": configs, "configMapRef": configs}.items():
        for keys, value in of.find(kind):
            name = value.get("name", value.get("secretName"))
            if name not in names:
                found.append(of.problem(keys, f"no file makes the {kind.removesuffix('Ref')} {name}"))
    return found


def _selecting_nothing(of: Document, known: list[Document]) -> list[Problem]:
    """Return the selectors that no pod's labels meet, and the ports by a name that their pods do not have."""
    found = []
    pods = [other for other in known if other.get("spec", "template", "metadata", "labels")]
    selectors = [*of.find("matchLabels")]
    if of.get("kind") == "Service":
        selectors.append((("spec", "selector"), of.get("spec", "selector")))
    for keys, labels in selectors:
        chosen = [p for p in pods if labels.items() <= p.get("spec", "template", "metadata", "labels").items()]
        if not chosen:
            found.append(of.problem(keys, f"no pod has the labels {labels}"))
        if keys in {("spec", "selector"), ("spec", "podSelector", "matchLabels")}:
            names = {port["name"] for pod in chosen for _, ports in pod.find("ports") for port in ports}
            wanted = [*of.find("targetPort"), *(f for f in of.find("port") if of.get("kind") == "NetworkPolicy")]
            found += [of.problem(at, f"no port of the pod is called {n}") for at, n in wanted if n not in names]
    return found


def _ini(pod: Document, inis: Mapping[str, Document]) -> str:
    """Return the pgbouncer.ini that a pod mounts."""
    names = [value.get("name") for _, value in pod.find("configMap")]
    return "".join(str(inis[name].get("data", "pgbouncer.ini")) for name in names if name in inis)


def _addresses(of: Document, known: list[Document], inis: Mapping[str, Document]) -> list[Problem]:
    """Return the addresses in an environment at which nothing answers, or not what is asked for."""
    found: list[Problem] = []
    services = {s.get("metadata", "name"): s for s in known if s.get("kind") == "Service"}
    central = "".join(_ini(pod, inis) for pod in known if pod.get("metadata", "name") in services)
    own = _ini(of, inis)
    for keys, variables in of.find("env"):
        given = {variable["name"]: variable.get("value") for variable in variables}
        if "DATABASE_DIRECT_URL" in given and given.get("PGSSLMODE") != manifests.VERIFIED:
            found.append(of.problem(keys, f"PGSSLMODE: {manifests.UNVERIFIED}"))
        for number, variable in enumerate(variables):
            url = urlsplit(str(variable.get("value", "")))
            if not url.scheme.startswith("postgres"):
                continue
            at: Keys = (*keys, number, "value")
            name, port = url.hostname or "", str(url.port)
            if url.password:
                found.append(of.problem(at, "a file that people copy is no place for a password"))
            if variable["name"] == "DATABASE_DIRECT_URL":
                to = entry(own or central, "upstream")
                if (name, port) != (to.get("host"), to.get("port")):
                    found.append(of.problem(at, f"PgBouncer's database is at {to.get('host')}:{to.get('port')}"))
                continue
            if name == "127.0.0.1":
                ini, listens = own, setting(own, "listen_port") or "no port"
                ports = [listens]
            elif name in services:
                ini, ports = central, [str(each["port"]) for each in services[name].get("spec", "ports")]
            else:
                found.append(of.problem(at, f"no Service is called {name}"))
                continue
            if port not in ports:
                found.append(of.problem(at, f"{name} listens on {', '.join(ports)}, not on {port}"))
            if not entry(ini, url.path.lstrip("/")):
                found.append(of.problem(at, f"PgBouncer has no database called {url.path.lstrip('/')}"))
    return found


def _ports(of: Document, inis: Mapping[str, Document]) -> list[Problem]:
    """Return the ports that a container does not have: of a probe by name, and of PgBouncer by number."""
    found = []
    listens = setting(_ini(of, inis), "listen_port")
    for group in ("containers", "initContainers"):
        for number, container in enumerate(of.get(*POD, group) or []):
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            at: Keys = (*POD, group, number)
            probes = Document(of.path, container, of.node)
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                for keys, port in probes.find("port"):
                    if keys[0] == probe and port not in ports:
                        found.append(of.problem((*at, *keys), f"the container has no port called {port}"))
                command = " ".join(probes.get(probe, "exec", "command") or [])
                if command and listens and listens not in re.findall(r"\d+", command):
                    found.append(of.problem((*at, probe, "exec", "command"), f"PgBouncer listens on {listens}"))
            if container["name"] == "pgbouncer" and ports and [str(n) for n in ports.values()] != [listens]:
                found.append(of.problem((*at, "ports"), f"PgBouncer listens on {listens}"))
            bind = next((e["value"] for e in container.get("env", []) if e["name"] == "GUNICORN_BIND"), "")
            if bind and int(bind.rpartition(":")[2]) not in ports.values():
                found.append(of.problem((*at, "ports"), f"Gunicorn listens on {bind}"))
    return found


def _unmounted(of: Document, secrets: Mapping[str, set[str]], inis: Mapping[str, Document]) -> list[Problem]:
    """Return the files that a container or its pgbouncer.ini names, and that no volume there holds.

    Not those of a Secret or ConfigMap that nobody makes, nor those of a folder where none is mounted: others do.
    """
    ini = _ini(of, inis)
    configs = {name: {*config.get("data")} for name, config in inis.items()}
    held: dict[str, list[set[str] | None]] = {}
    for volume in of.get(*POD, "volumes") or []:
        for source in volume.get("projected", {}).get("sources", [volume]):
            secret = source.get("secret", {})
            secret_name = secret.get("name", secret.get("secretName"))
            made = secrets.get(secret_name) if secret else configs.get(source.get("configMap", {}).get("name"))
            held.setdefault(volume["name"], []).append(made)
    found = []
    for group in ("initContainers", "containers"):
        for number, container in enumerate(of.get(*POD, group) or []):
            mounts = {each["mountPath"]: held.get(each["name"], []) for each in container.get("volumeMounts", [])}
            named = [each["value"] for each in container.get("env", []) if each["name"] == "PGSSLROOTCERT"]
            if container["name"] == "pgbouncer":
                named += [setting(ini, "auth_file"), setting(ini, "server_tls_ca_file")]
            for file in map(PurePosixPath, filter(None, named)):
                there = mounts.get(str(file.parent), [None])
                if None not in there and not any(file.name in files for files in there if files):
                    found.append(of.problem((*POD, group, number), f"no volume that is mounted there holds {file}"))
    return found


def _clients(of: Document, known: list[Document], inis: Mapping[str, Document]) -> list[Problem]:
    """Return an environment with more threads than PgBouncer takes clients, twice for a deploy."""
    own = _ini(of, inis)
    ini = own or "".join(_ini(pod, inis) for pod in known)
    pods = 1 if own else of.get("spec", "replicas") or 1
    for keys, variables in of.find("env"):
        given = {variable["name"]: variable.get("value") for variable in variables}
        threads = pods * int(given.get("GUNICORN_WORKERS", 1)) * int(given.get("GUNICORN_THREADS", 1))
        if ini and 2 * threads > int(setting(ini, "max_client_conn") or 100):
            return [of.problem(keys, f"{threads} threads, twice at a deploy, are more than max_client_conn")]
    return []


def _grace(of: Document) -> list[Problem]:
    """Return a grace that is over before what has to fit into it."""
    grace = of.get(*POD, "terminationGracePeriodSeconds") or 30
    slept = max((value["seconds"] for _, value in of.find("sleep")), default=0)
    if slept >= grace:
        return [of.problem((*POD, "terminationGracePeriodSeconds"), f"preStop alone takes {slept} seconds")]
    return []
