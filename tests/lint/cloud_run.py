"""The files of a Cloud Run service: each is what Google describes, and they agree with each other.

service.yaml is the service. deploy.sh makes the same one by flags, secrets.sh makes what it mounts, cloudbuild.yaml
builds an image of it, and pgbouncer.ini is what its PgBouncer reads.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from proven.problems import Problem
from tests.lint import gcloud, google, manifests, promised, test_pgbouncer
from tests.lint.manifests import Document, entry, setting

TEMPLATE = ("spec", "template")
GRACE = 10  # seconds between SIGTERM and SIGKILL, from Cloud Run's container runtime contract
# The substitutions of Cloud Build's own that every build has; others are empty where no trigger started it.
BUILTIN = {"PROJECT_ID", "BUILD_ID"}
PUSHED = "$_IMAGE:$BUILD_ID"
FLAGS = {  # of the service: where it stands in the file
    "service-account": ("spec", "serviceAccountName"),
    "concurrency": ("spec", "containerConcurrency"),
    "timeout": ("spec", "timeoutSeconds"),
    "max-instances": ("metadata", "annotations", "autoscaling.knative.dev/maxScale"),
    "vpc-egress": ("metadata", "annotations", "run.googleapis.com/vpc-access-egress"),
}


def service_problems(path: str, text: str) -> list[Problem]:
    """Return what Google's description of the Cloud Run Admin API refuses in a service."""
    api = google.api("run.v1")
    found = manifests.problems(path, text, api.judge("Service"))
    for of in manifests.documents(path, text):
        known = {"Service": ("metadata", "annotations"), "Revision": (*TEMPLATE, "metadata", "annotations")}
        for kind, keys in known.items():
            for name in of.get(*keys) or {}:
                if name not in api.annotations(kind):
                    found.append(of.problem((*keys, name), f"no annotation of a {kind} is called {name}"))
    return found


def build_problems(path: str, text: str) -> list[Problem]:
    """Return what Google's description of the Cloud Build API refuses, and what gcloud does in the steps."""
    found = manifests.problems(path, text, google.api("cloudbuild.v1").judge("Build"))
    for of in manifests.documents(path, text) if not found else ():
        defined = BUILTIN | set(of.get("substitutions") or {})
        for name in sorted(set(re.findall(r"\$\{?(\w+)", text)) - defined):
            found.append(of.problem(("steps",), f"nothing defines ${name} in every build"))
        held = any("$" in str(value) for value in (of.get("substitutions") or {}).values())
        if held and not (of.get("options") or {}).get("dynamicSubstitutions"):
            found.append(of.problem(("options",), "a substitution holds $PROJECT_ID: dynamicSubstitutions is true"))
        for number, step in enumerate(of.get("steps")):
            at = ("steps", number)
            wanted = "gcloud" if "cloudsdktool" in step["name"] else None
            if step.get("entrypoint") != wanted:
                found.append(of.problem(at, f"entrypoint is {wanted or 'the image has its own'}"))
            if not wanted and (step["args"][0], step["args"][-1]) not in (("build", "."), ("push", PUSHED)):
                found.append(of.problem((*at, "args"), f"docker builds the folder and pushes {PUSHED}"))
            image = Document(path, {"image": step["name"]}, of.node)
            found += [of.problem((*at, "name"), problem.message) for problem in manifests.unpinned(image)]
            if step.get("entrypoint") == "gcloud":
                found += [of.problem((*at, "args"), message) for message in gcloud.refused(step["args"])]
    return found


def problems(texts: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with the files of a service, by their paths: each of them, then where they disagree."""
    files = {PurePosixPath(path).name: (path, text) for path, text in texts.items()}
    found = [
        *service_problems(*files["service.yaml"]),
        *build_problems(*files["cloudbuild.yaml"]),
        *gcloud.problems(*files["deploy.sh"]),
        *gcloud.problems(*files["secrets.sh"]),
        *test_pgbouncer.problems(*files["pgbouncer.ini"]),
    ]
    regions = {region: path for path, text in texts.items() for region in re.findall(r"--region=(\S+)", text)}
    found += [
        Problem(path, 1, f"regions differ: {', '.join(regions)}") for path in regions.values() if len(regions) > 1
    ]
    if found:
        return sorted(set(found))
    (service,) = manifests.documents(*files["service.yaml"])
    (build,) = manifests.documents(*files["cloudbuild.yaml"])
    return sorted(
        {
            *manifests.unpinned(service),
            *promised.problems(*files["pgbouncer.ini"]),
            *_order(service),
            *_secrets(service, files["secrets.sh"][1]),
            *_addresses(service, files["pgbouncer.ini"][1]),
            *_unverified(service, files["pgbouncer.ini"][1]),
            *_numbers(service),
            *_flags(service, *files["deploy.sh"]),
            *_build(service, build),
        }
    )


def containers(service: Document) -> dict[str, tuple[manifests.Keys, dict[str, Any]]]:
    """Return the containers by name, each with where it stands."""
    at = (*TEMPLATE, "spec", "containers")
    return {each["name"]: ((*at, number), each) for number, each in enumerate(service.get(*at))}


def dependencies(service: Document) -> dict[str, list[str]]:
    """Return which containers start after which others."""
    return json.loads(service.get(*TEMPLATE, "metadata", "annotations", "run.googleapis.com/container-dependencies"))


def variables(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment that a container is given, without what comes from secrets."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def _order(service: Document) -> list[Problem]:
    """Return the dependencies on what is not there, or what never says that it has started."""
    known = containers(service)
    at = (*TEMPLATE, "metadata", "annotations", "run.googleapis.com/container-dependencies")
    found = []
    for name, needs in dependencies(service).items():
        for other in {name, *needs} - known.keys():
            found.append(service.problem(at, f"no container is called {other}"))
        for other in set(needs) & known.keys():
            if "startupProbe" not in known[other][1]:
                found.append(service.problem(known[other][0], f"{other} has no startup probe, so {name} does not wait"))
    return found


def _secrets(service: Document, script: str) -> list[Problem]:
    """Return the secrets that no line of the script makes, and those without a version."""
    made = set(re.findall(r"gcloud secrets create ([\w-]+)", script))
    found = []
    named = [
        *((keys, of["name"], of["key"]) for keys, of in service.find("secretKeyRef")),
        *((keys, of["secretName"], of["items"][0]["key"]) for keys, of in service.find("secret")),
    ]
    for keys, name, key in named:
        if name not in made:
            found.append(service.problem(keys, f"no line makes the secret {name}"))
        if not key.isdecimal():
            found.append(service.problem(keys, f"{name} has no version: {key} is another one tomorrow"))
    return found


def mounts(service: Document, container: str = "pgbouncer") -> dict[str, str]:
    """Return the files that a container finds, each with the secret that holds it."""
    volumes = {each["name"]: each["secret"] for each in service.get(*TEMPLATE, "spec", "volumes")}
    mounted = containers(service)[container][1].get("volumeMounts", [])
    return {
        f"{each['mountPath']}/{volumes[each['name']]['items'][0]['path']}": volumes[each["name"]]["secretName"]
        for each in mounted
    }


def _addresses(service: Document, ini: str) -> list[Problem]:
    """Return the addresses and files at which there is nothing."""
    found = []
    at, pooler = containers(service)["pgbouncer"]
    listens = setting(ini, "listen_port")
    for keys, port in Document(service.path, pooler, service.node).find("port"):
        if str(port) != listens:
            found.append(service.problem((*at, *keys), f"PgBouncer listens on {listens}"))
    for file in (*pooler["args"], setting(ini, "auth_file"), setting(ini, "server_tls_ca_file")):
        if file not in mounts(service):
            found.append(service.problem((*at, "volumeMounts"), f"nothing is mounted at {file}"))
    at, app = containers(service)["app"]
    database = entry(ini, "upstream")
    wanted = {
        "DATABASE_URL": ("127.0.0.1", listens),
        "DATABASE_DIRECT_URL": (database.get("host"), database.get("port")),
    }
    for number, each in enumerate(app["env"]):
        if each["name"] not in wanted:
            continue
        if "value" not in each:
            found.append(service.problem((*at, "env", number), f"{each['name']} stands here, without the password"))
            continue
        url = urlsplit(each["value"])
        if url.password:
            found.append(service.problem((*at, "env", number), "a file that people copy is no place for a password"))
        if (url.hostname, str(url.port)) != wanted[each["name"]]:
            host, port = wanted[each["name"]]
            found.append(service.problem((*at, "env", number, "value"), f"{each['name']} leads to {host}:{port}"))
        if not entry(ini, url.path.lstrip("/")):
            found.append(service.problem((*at, "env", number), f"PgBouncer has no database {url.path.lstrip('/')}"))
    return found


def _unverified(service: Document, ini: str) -> list[Problem]:
    """Return the ways to the database on which nobody asks whom they talk to: PgBouncer's, and the one past it."""
    found = []
    if setting(ini, "server_tls_sslmode") != manifests.VERIFIED:
        found.append(service.problem(containers(service)["pgbouncer"][0], manifests.UNVERIFIED))
    at, app = containers(service)["app"]
    given = variables(app)
    if given.get("PGSSLMODE") != manifests.VERIFIED:
        found.append(service.problem((*at, "env"), f"PGSSLMODE: {manifests.UNVERIFIED}"))
    if given.get("PGSSLROOTCERT") not in mounts(service, "app"):
        found.append(service.problem((*at, "volumeMounts"), f"nothing is mounted at {given.get('PGSSLROOTCERT')}"))
    return found


def _numbers(service: Document) -> list[Problem]:
    """Return the numbers that do not fit Gunicorn's: its port, its threads, its grace."""
    found = []
    at, app = containers(service)["app"]
    given = variables(app)
    if (service.get("apiVersion"), service.get("kind")) != ("serving.knative.dev/v1", "Service"):
        found.append(service.problem(("kind",), "it is a Service of serving.knative.dev/v1"))
    annotation = (*TEMPLATE, "metadata", "annotations", "run.googleapis.com/cpu-throttling")
    if service.get(*annotation) != "false":
        found.append(service.problem(annotation, "PgBouncer's timeouts need CPU between requests: false"))
    ports = [port["containerPort"] for _, each in containers(service).values() for port in each.get("ports", [])]
    bound = int(given["GUNICORN_BIND"].rpartition(":")[2])
    if ports != [bound]:
        found.append(service.problem((*at, "ports"), f"one container has a port, and Gunicorn listens on {bound}"))
    threads = int(given["GUNICORN_WORKERS"]) * int(given["GUNICORN_THREADS"])
    keys = (*TEMPLATE, "spec", "containerConcurrency")
    if service.get(*keys) != threads:
        found.append(service.problem(keys, f"Gunicorn has {threads} threads"))
    graceful = re.search(r"--graceful-timeout=(\d+)", given.get("GUNICORN_CMD_ARGS", ""))
    if not graceful or int(graceful[1]) >= GRACE:
        found.append(service.problem((*at, "env"), f"Gunicorn waits longer than the {GRACE} seconds that it has"))
    return found


def flags(service: Document) -> dict[str, dict[str, Any]]:
    """Return the service as flags of gcloud run deploy: those of the service itself under "", then each container's."""
    (network,) = json.loads(service.get(*TEMPLATE, "metadata", "annotations", "run.googleapis.com/network-interfaces"))
    own: dict[str, Any] = {flag: str(service.get(*TEMPLATE, *keys)) for flag, keys in FLAGS.items()}
    own |= {"network": network["network"], "subnet": network["subnetwork"], "no-cpu-throttling": ""}
    found = {"": own}
    for name, (_, each) in containers(service).items():
        of: dict[str, Any] = {"image": each["image"], **each["resources"]["limits"]}
        if "ports" in each:
            of["port"] = str(each["ports"][0]["containerPort"])
        if name in dependencies(service):
            of["depends-on"] = ",".join(dependencies(service)[name])
        if "startupProbe" in each:
            probe = each["startupProbe"]
            rest = {key: str(value) for key, value in probe.items() if key != "tcpSocket"}
            of["startup-probe"] = {"tcpSocket.port": str(probe["tcpSocket"]["port"]), **rest}
        if variables(each):
            of["set-env-vars"] = variables(each)
        secrets = {
            e["name"]: "{name}:{key}".format_map(e["valueFrom"]["secretKeyRef"])
            for e in each.get("env", [])
            if "valueFrom" in e
        }
        if "volumeMounts" in each:
            secrets |= {path: f"{secret}:1" for path, secret in mounts(service, name).items()}
        of |= {"set-secrets": secrets} if secrets else {}
        of |= {key: ",".join(each[key]) for key in ("command", "args") if key in each}
        found[name] = of
    return found


def said(script: str) -> dict[str, dict[str, Any]]:
    """Return the flags of the script's gcloud run deploy, in the same form."""
    named = dict(re.findall(r"^(\w+)='?(.+?)'?$", script, re.MULTILINE))
    (words,) = [words for _, words in gcloud.commands(script) if words[1:3] == ["run", "deploy"]]
    found: dict[str, dict[str, Any]] = {"": {}}
    group = ""
    for word in words[4:]:
        flag, _, value = word.removeprefix("--").partition("=")
        for name, text in named.items():
            value = value.replace(f"${name}", text)
        if flag == "container":
            group = value
            found[group] = {}
        elif flag in {"set-env-vars", "set-secrets", "startup-probe"}:
            pairs = dict(pair.split("=", 1) for pair in value.split(","))
            found[group].setdefault(flag, {}).update(pairs)
        elif flag != "region":
            found[group][flag] = value
    return found


def _flags(service: Document, path: str, script: str) -> list[Problem]:
    """Return the flags of the script that make another service than the file."""
    found = []
    wanted, given = _flat(flags(service)), _flat(said(script))
    for group, flag, key in sorted({*wanted, *given}):
        in_file, in_script = (of.get((group, flag, key), "missing") for of in (wanted, given))
        if in_file != in_script:
            named = f"{f'container {group}: ' if group else ''}--{flag}{f' {key}' if key else ''}"
            at = next((n for n, text in enumerate(script.splitlines(), 1) if f"--{flag}" in text and key in text), 1)
            found.append(Problem(path, at, f"{named} is {in_script}, in {service.path} {in_file}"))
    return found


def _flat(groups: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str, str], str]:
    """Return each value of flags by its group, its flag and the key within it."""
    return {
        (group, flag, key): text
        for group, of in groups.items()
        for flag, value in of.items()
        for key, text in (value.items() if isinstance(value, dict) else (("", value),))
    }


def _build(service: Document, build: Document) -> list[Problem]:
    """Return where a build gives its image to something else than the service."""
    found = []
    images = {name: each["image"].rpartition(":")[0] for name, (_, each) in containers(service).items()}
    for number, step in enumerate(build.get("steps")):
        if step.get("entrypoint") != "gcloud":
            continue
        at = ("steps", number, "args")
        names = [word for word in step["args"] if not word.startswith("--")]
        given = dict(shlex.split(word)[0].removeprefix("--").split("=", 1) for word in step["args"] if "=" in word)
        if names[-1] != service.get("metadata", "name"):
            found.append(build.problem(at, f"no service is called {names[-1]}"))
        image = given["image"].rpartition(":")[0]
        for name, value in build.get("substitutions").items():
            image = image.replace(f"${name}", value)
        if image.replace("$PROJECT_ID", "my-project") != images.get(given["container"]):
            found.append(build.problem(at, f"the container {given['container']} runs {images.get(given['container'])}"))
    return found
