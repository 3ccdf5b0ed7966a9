"""What describes something to a platform, in YAML or JSON, judged by a schema: each mistake at its own line."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from proven.problems import Problem, nearest
from tests.lint import test_pgbouncer

VERIFIED = "verify-full"
UNVERIFIED = f"whoever stands between here and the database is not noticed: {VERIFIED}"
Keys = tuple[str | int, ...]
Judge = Callable[[Any], Draft202012Validator]


@dataclass(frozen=True)
class Document:
    """One document of a file."""

    path: str
    value: Any
    node: yaml.Node

    def line(self, keys: Keys = ()) -> int:
        """Return the line of a key, or of an item, that a path of keys and numbers leads to."""
        node, at = self.node, self.node.start_mark.line
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
                if pair is None:
                    break
                at, node = pair[0].start_mark.line, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                node = node.value[key]
                at = node.start_mark.line
        return at + 1

    def problem(self, keys: Keys, message: str) -> Problem:
        """Return a mistake at the end of a path of keys."""
        return Problem(self.path, self.line(keys), message)

    def find(self, name: str) -> Iterator[tuple[Keys, Any]]:
        """Yield every value that has this key, at whatever depth, with the path to it."""
        return (found for found in _walk(self.value, ()) if found[0] and found[0][-1] == name)

    def get(self, *keys: str | int) -> Any:
        """Return the value at the end of a path of keys, or nothing where the path ends before."""
        value = self.value
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def documents(path: str, text: str) -> list[Document]:
    """Return every document of a file, called `path` in problems. Raises YAMLError where it is not YAML."""
    loader = yaml.SafeLoader(text)
    found = []
    while loader.check_node():
        node = loader.get_node()
        if node is not None:
            found.append(Document(path, loader.construct_document(node), node))
    return [document for document in found if document.value is not None]


def problems(path: str, text: str, judge: Draft202012Validator | Judge) -> list[Problem]:
    """Return what a schema refuses in the documents of a file. `judge` may differ from document to document.

    It is then asked for a document's, and raises LookupError with a sentence where there is none.
    """
    found = []
    for document in documents(path, text):
        try:
            schema = judge if isinstance(judge, Draft202012Validator) else judge(document.value)
        except LookupError as error:
            found.append(document.problem((), str(error.args[0])))
            continue
        for error in schema.iter_errors(document.value):
            found += [document.problem(keys, message) for keys, message in _said(error)]
    return sorted(found)


def unpinned(document: Document) -> list[Problem]:
    """Return the images that are another one tomorrow: without a version, or the latest one."""
    found = []
    for keys, image in document.find("image"):
        name, at, tag = str(image).rpartition("/")[2].partition("@" if "@" in str(image) else ":")
        if not at or not tag or tag == "latest":
            found.append(document.problem(keys, f"{name} has no version: an image is pinned by its tag or digest"))
    return found


def ini_problems(document: Document, keys: Keys) -> list[Problem]:
    """Return what PgBouncer would not understand in an ini that stands in a document as a block."""
    first = document.line(keys)
    found = test_pgbouncer.problems(document.path, str(document.get(*keys)))
    return [Problem(problem.path, first + problem.line, problem.message) for problem in found]


def setting(ini: str, name: str) -> str:
    """Return what an ini says of a setting, or nothing."""
    found = re.search(rf"^{name} *= *(.*?) *$", ini, re.MULTILINE)
    return found[1] if found else ""


def entry(ini: str, database: str) -> dict[str, str]:
    """Return what an ini says of a database; nothing where it has none of that name."""
    return dict(re.findall(r"(\w+)=(\S+)", setting(ini, database)))


def _walk(value: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    yield keys, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _walk(item, (*keys, key))


def _said(error: ValidationError) -> Iterator[tuple[Keys, str]]:
    """Yield what an error says, and where: a field that is not known at its own name, with the nearest ones."""
    keys = tuple(error.absolute_path)
    where = ".".join(str(key) for key in keys if not isinstance(key, int)) or "the document"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        for name in error.instance:
            if name not in known:
                yield (*keys, name), f"{where} has no field {name}{nearest(str(name), known)}"
    else:
        yield keys, f"{where}: {error.message}"
