"""What Google says of its APIs in a form that machines read: the discovery documents, which Google's client carries.

A discovery document is JSON Schema but for a few words, which are put into JSON Schema's here. It is then stricter than
the services, which ignore a field that they do not know: a misspelt one is refused.
"""

import functools
import json
import re
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

DOCUMENTS = "discovery_cache/documents"
NUMBER = re.compile("u?int64")  # in JSON a string, because JavaScript's numbers are too small; a number is understood
UNSUPPORTED = re.compile(r"(Output only\.|Not supported by Cloud Run)")
REQUIRED = re.compile(r"Required\.")
FILLED_IN = {"namespace"}  # by gcloud, with the project
ANNOTATION = re.compile(r"\* `([a-z.]+/[\w-]+)`: ([\w, ]+)")


@dataclass(frozen=True)
class Api:
    """One version of one API, as Google describes it."""

    document: dict[str, Any]
    judges: dict[str, Draft202012Validator] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name it as a reader may look for it: "Cloud Run Admin API v1, revision 20261031"."""
        return "{title} {version}, revision {revision}".format_map(self.document)

    def schema(self, name: str) -> dict[str, Any]:
        """Return the JSON Schema of one of its resources: schema("Service"). Raises KeyError where it has none."""
        known = {each: _converted(of) for each, of in self.document["schemas"].items()}
        return {**known[name], "$defs": known}

    def judge(self, name: str) -> Draft202012Validator:
        """Return what judges one of its resources, for manifests.problems."""
        if name not in self.judges:
            self.judges[name] = Draft202012Validator(self.schema(name))
        return self.judges[name]

    def annotations(self, kind: str) -> set[str]:
        """Return the annotations that a kind of resource may have: annotations("Revision")."""
        listed = self.document["schemas"]["ObjectMeta"]["properties"]["annotations"]["description"]
        return {name for name, kinds in ANNOTATION.findall(listed) if kind in kinds or "All" in kinds}


@functools.cache
def api(name: str) -> Api:
    """Return an API by its name and version: api("run.v1"). Raises FileNotFoundError where the client has none."""
    return Api(json.loads((files("googleapiclient") / DOCUMENTS / f"{name}.json").read_text(encoding="utf-8")))


def _converted(of: dict[str, Any]) -> dict[str, Any]:
    """Return a discovery document's schema as JSON Schema."""
    kind = of.get("type", "any")
    if name := of.get("$ref"):
        return {"$ref": f"#/$defs/{name}"}
    if kind == "object":
        return {"type": kind, **(_fields(of["properties"]) if "properties" in of else _anything(of))}
    if kind == "array":
        return {"type": kind, "items": _converted(of["items"])}
    if NUMBER.fullmatch(of.get("format", "")):
        return {"type": ["string", "integer"], "pattern": r"^-?\d+$"}
    known = {"enum": of["enum"]} if "enum" in of else {}
    return known if kind == "any" else {"type": kind, **known}


def _fields(properties: dict[str, Any]) -> dict[str, Any]:
    """Return what may stand in an object, which is nothing else, and what must."""
    fields = {name: field for name, field in properties.items() if not _unsupported(field)}
    return {
        "properties": {name: _converted(field) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if _says(REQUIRED, field) and name not in FILLED_IN],
        "additionalProperties": False,
    }


def _anything(of: dict[str, Any]) -> dict[str, Any]:
    """Return what may stand in an object whose names are anybody's."""
    return {"additionalProperties": _converted(of.get("additionalProperties", {}))}


def _unsupported(field: dict[str, Any]) -> bool:
    """Return whether nobody may set a field: it is only read, or is there for the sake of another platform."""
    return field.get("readOnly", False) or _says(UNSUPPORTED, field)


def _says(what: re.Pattern[str], field: dict[str, Any]) -> bool:
    return what.match(field.get("description", "")) is not None
