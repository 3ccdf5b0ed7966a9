"""The values in files of settings: ini, conf, env and HCL line by line, YAML and JSON as a tree.

The key of each is the path to it: "pgbouncer.query_wait_timeout", or "spec.template.spec.containers.app.image", where
an item of a list goes by its name, or else by its number. An ini inside YAML is read as well.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

TREES = (".yaml", ".yml", ".json")
KINDS = (*TREES, ".ini", ".conf", ".env", ".env.example", ".tf")
COMMENT = ("#", ";")
LINE = re.compile(r"\s*(?P<key>[\w%]+)(?P<is>[^\S\n]*=[^\S\n]*|[^\S\n]+)(?P<value>.*?)[^\S\n]*")
SECTION = re.compile(r"\s*(?:\[(?P<named>\S+)\]|(?P<block>\S.*?)\s*(?:=\s*)?\{)\s*")
PARTS = re.compile(r"(\w+)=(\S+)")  # host=127.0.0.1 port=5432
OPPOSITES = {"true": "false", "false": "true", "yes": "no", "no": "yes", "on": "off", "off": "on"}


@dataclass(frozen=True)
class Value:
    """One value, and where it stands in the text."""

    key: str
    text: str
    begin: int
    end: int


def holds(path: str) -> bool:
    """Return whether a file is one of settings."""
    return path.endswith(KINDS)


def values(path: str, text: str) -> list[Value]:
    """Return the values of a file, in its order. Raises YAMLError for what is no YAML."""
    found = _tree(text) if path.endswith(TREES) else _lines(text, 0, len(text))
    seen: dict[str, int] = {}
    numbered = []
    for key, begin, end in found:
        seen[key] = number = seen.get(key, 0) + 1
        numbered.append(Value(key if number == 1 else f"{key}#{number}", text[begin:end], begin, end))
    return numbered


def other(text: str) -> str:
    """Return another value of the same form: the opposite, or the same with another last letter or digit."""
    plain = text.strip("\"'").lower()
    if plain in OPPOSITES:
        return text.lower().replace(plain, OPPOSITES[plain])
    for at in reversed(range(len(text))):
        if text[at].isascii() and text[at].isalnum() and text[at - 1 : at] != "\\":
            new = str((int(text[at]) + 1) % 10) if text[at].isdecimal() else "x" if text[at] != "x" else "y"
            return text[:at] + new + text[at + 1 :]
    return f"{text[:1]}x{text[1:]}"  # after the quote, where there is one


def _tree(text: str) -> Iterator[tuple[str, int, int]]:
    """Return the values of each document; what an alias repeats counts only where it is defined."""
    documents = list(yaml.compose_all(text, yaml.CSafeLoader))
    met: set[int] = set()

    def under(node: yaml.Node, way: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
        if id(node) in met:
            return
        met.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield from under(value, (*way, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from under(item, (*way, _name(item) or str(number)))
        else:
            begin, end = node.start_mark.index, node.end_mark.index
            if begin == end:  # nothing, as in "pull_request:"
                return
            if way and way[-1].endswith(".ini"):
                for key, first, last in _lines(text, begin, end):
                    yield ".".join([*way, key]), first, last
            else:
                yield ".".join(way), begin, end

    for node in documents:
        if node is not None:
            yield from under(node, (_kind(node),) if len(documents) > 1 else ())


def _name(node: yaml.Node) -> str:
    """Return what an item of a list is called, if anything."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    named = {key.value: value.value for key, value in pairs if isinstance(value, yaml.ScalarNode)}
    return next((named[key] for key in ("title", "refId", "alert", "record", "id", "name") if key in named), "")


def _kind(node: yaml.Node) -> str:
    return next((value.value for key, value in node.value if key.value == "kind"), "")


def _lines(text: str, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    way: list[str] = []
    at = begin
    for line in text[begin:end].split("\n"):
        if section := SECTION.fullmatch(line):
            way = [section["named"]] if section["named"] else [*way, section["block"].replace('"', "")]
        elif line.strip() == "}":
            way = way[:-1]
        elif (found := LINE.fullmatch(line)) and not line.lstrip().startswith(COMMENT):
            key, first = ".".join([*way, found["key"]]), at + found.start("value")
            parts = list(PARTS.finditer(found["value"]))
            if parts and PARTS.sub("", found["value"]).strip() == "":
                for part in parts:
                    yield f"{key}.{part[1]}", first + part.start(2), first + part.end(2)
            else:
                yield key, first, at + found.end("value")
        at += len(line) + 1
