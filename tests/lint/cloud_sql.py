"""The files that turn on Cloud SQL's pooler: each is what Google describes, and all of them say the same.

pooling.json is the body of a request to the Cloud SQL Admin API. pooling.sh says the same to gcloud, pooling.tf to
Terraform, and pooling_api.sh sends the first one.
"""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import hcl2
from hcl2.utils import SerializationOptions
from lark.exceptions import UnexpectedInput

from proven.problems import Problem, nearest
from tests.lint import gcloud, google, manifests

API = "sqladmin.v1"
INSTANCE = "google_sql_database_instance"
OWN = ("deletion_protection",)  # of Terraform's provider: the API has no such field
POOLING = "--enable-connection-pooling"
FLAGS = "--connection-pool-flags"
ENCRYPTED = ("ENCRYPTED_ONLY", "TRUSTED_CLIENT_CERTIFICATE_REQUIRED")
Flags = dict[str, str]


def problems(texts: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with the files, by their paths: each of them, then where they disagree."""
    files = {PurePosixPath(path).name: (path, text) for path, text in texts.items()}
    found = [
        *body_problems(*files["pooling.json"]),
        *script_problems(*files["pooling.sh"]),
        *sender_problems(*files["pooling_api.sh"]),
        *terraform_problems(*files["pooling.tf"]),
    ]
    if found:
        return sorted(set(found))
    wanted = flags_of(json.loads(files["pooling.json"][1]))
    others = {"pooling.sh": flags_of_script, "pooling.tf": lambda text: flags_of(body_of(text))}
    for name, read in others.items():
        path, text = files[name]
        if (flags := read(text)) != wanted:
            found.append(
                Problem(path, _line(text, *flags), f"flags of the pooler: {flags}, and {wanted} in pooling.json")
            )
    return found


def body_problems(path: str, text: str) -> list[Problem]:
    """Return what Google's description refuses in the body of a request, and that it turns no pooling on."""
    found = manifests.problems(path, text, google.api(API).judge("DatabaseInstance"))
    return found or _off(path, text, json.loads(text))


def script_problems(path: str, text: str) -> list[Problem]:
    """Return the flags that neither gcloud nor gcloud beta has, fields that nothing has, and that pooling stays off."""
    found = []
    for first, words in gcloud.commands(text):
        stable, beta = gcloud.refused(words[1:]), gcloud.refused(["beta", *words[1:]])
        if stable and beta:
            known_to_beta = "not among the commands" not in beta[0]
            for message in beta if known_to_beta else stable:
                flag = re.search(r"has no flag (\S+?)(?:;|$)", message)
                found.append(Problem(path, _line(text, flag[1] if flag else "", after=first), message))
        for word in words:
            for field in re.findall(r"[\w.]+", word.partition("=value(")[2]):
                if why := unknown_field(field):
                    found.append(Problem(path, _line(text, field), why))
    if not any(POOLING in words for _, words in gcloud.commands(text)):
        found.append(Problem(path, 1, f"this turns no pooling on: nothing says {POOLING}"))
    return found


def sender_problems(path: str, text: str) -> list[Problem]:
    """Return where a request by curl is not the one that Google describes, and whether its command shows the token."""
    document = google.api(API).document
    method = document["resources"]["instances"]["methods"]["patch"]
    address = document["rootUrl"] + re.sub(r"\{(\w+)\}", r"$\1", method["flatPath"])
    found = [] if f"--request {method['httpMethod']}" in text else [f"the method is {method['httpMethod']}"]
    if f'"{address}"' not in text:
        found.append(f"the address is {address}")
    if "--data @pooling.json" not in text:
        found.append("the body is pooling.json: --data @pooling.json")
    command = text[text.find("curl ") :]
    if "token" in command or "--header @-" not in command:
        found.append("the token goes to curl by a pipe, with --header @-: everybody can read a command line")
    return [Problem(path, _line(text, "curl"), message) for message in found]


def terraform_problems(path: str, text: str) -> list[Problem]:
    """Return what is no HCL, what the API has not, in snake case, and an instance that is open or has no pooling."""
    try:
        body = body_of(text)
    except UnexpectedInput as error:
        return [Problem(path, error.line, f"not HCL: {str(error).splitlines()[0]}")]
    as_json = json.dumps(body)
    found = manifests.problems(path, as_json, google.api(API).judge("DatabaseInstance"))
    if found:
        return [Problem(path, _line(text, _snake(_named(each.message))), each.message) for each in found]
    kept = re.search(r"^ *deletion_protection *= true$", text, re.MULTILINE)
    unkept = [] if kept else [Problem(path, _line(text, "resource"), "deletion_protection = true: it holds data")]
    return [*unkept, *_off(path, text, body), *_open(path, text, body)]


def unknown_field(field: str) -> str | None:
    """Return what is wrong with the name of a field of an instance, as in settings.edition, or None."""
    schemas = google.api(API).document["schemas"]
    of = schemas["DatabaseInstance"]
    for name in field.split("."):
        known = of.get("properties", {})
        if name not in known:
            return f"an instance has no field {field}{nearest(name, known)}"
        of = schemas.get(known[name].get("$ref"), {})
    return None


def flags_of(body: dict[str, Any]) -> Flags:
    """Return the pooler's flags in the body of a request."""
    return {flag["name"]: flag["value"] for flag in body["settings"]["connectionPoolConfig"].get("flags", [])}


def flags_of_script(text: str) -> Flags:
    """Return the pooler's flags in a script's gcloud commands."""
    given = [word.partition("=")[2] for _, words in gcloud.commands(text) for word in words if word.startswith(FLAGS)]
    return dict(flag.split("=", 1) for value in given for flag in value.split(","))


def body_of(terraform: str) -> dict[str, Any]:
    """Return the instance in a Terraform file as the API is told of it. Raises UnexpectedInput for what is no HCL."""
    options = SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)
    (resource,) = hcl2.loads(terraform, serialization_options=options)["resource"]
    (instance,) = resource[INSTANCE].values()
    return _camel({name: value for name, value in instance.items() if name not in OWN})


def _camel(value: Any, name: str = "") -> Any:
    """Return Terraform's values under the API's names. A block that the API has once is no list there."""
    if isinstance(value, list):
        items = [_camel(item) for item in value]
        return items if name == "flags" else items[0]
    if isinstance(value, dict):
        return {re.sub(r"_(\w)", lambda found: found[1].upper(), key): _camel(item, key) for key, item in value.items()}
    return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


def _named(message: str) -> str:
    """Return the field that a problem of manifests.problems is about."""
    field = re.match(r".* has no field (\w+)|[\w.]*?(\w+): ", message)
    return field[1] or field[2] if field else ""


def _off(path: str, text: str, body: dict[str, Any]) -> list[Problem]:
    on = body.get("settings", {}).get("connectionPoolConfig", {}).get("connectionPoolingEnabled")
    return [] if on else [Problem(path, _line(text, "settings"), "this turns no pooling on: connectionPoolingEnabled")]


def _open(path: str, text: str, body: dict[str, Any]) -> list[Problem]:
    """Return by which ways the instance can be reached that should not be: from everywhere, or in the clear."""
    found = []
    access = body.get("settings", {}).get("ipConfiguration", {})
    if access.get("ipv4Enabled", True) or not access.get("privateNetwork"):
        found.append(Problem(path, _line(text, "ipv4_enabled", "settings"), "the instance has a public address"))
    if access.get("sslMode") not in ENCRYPTED:
        message = f"the instance takes clients without TLS: ssl_mode is one of {', '.join(ENCRYPTED)}"
        found.append(Problem(path, _line(text, "ssl_mode", "settings"), message))
    return found


def _line(text: str, *names: str, after: int = 1) -> int:
    """Return the first line that has one of these words."""
    lines = text.splitlines()
    found = (
        n for name in names if name for n, line in enumerate(lines, 1) if n >= after and re.search(rf"{name}\b", line)
    )
    return next(found, after)
