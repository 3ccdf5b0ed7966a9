"""What describes something to a platform, in YAML or JSON, judged by a schema: each mistake at its own line."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from proven.problems import Problem, nearest

Judge = Callable[[Any], Draft202012Validator]


def documents(text: str) -> list[Any]:
    """Return every document of a file. Raises YAMLError where it is none."""
    return [value for value in yaml.safe_load_all(text) if value is not None]


def problems(place: str, text: str, judge: Draft202012Validator | Judge) -> list[Problem]:
    """Return what a schema refuses in the documents of a file. `judge` may differ from document to document.

    It is asked for a document's schema and raises LookupError, with a sentence, where there is none.
    """
    found = []
    loader = yaml.SafeLoader(text)
    while loader.check_node():
        node = loader.get_node()
        value = loader.construct_document(node)
        if value is None:
            continue
        try:
            schema = judge if isinstance(judge, Draft202012Validator) else judge(value)
        except LookupError as error:
            found.append(Problem(place, node.start_mark.line + 1, str(error.args[0])))
            continue
        found += [
            Problem(place, line(node, keys), message)
            for error in schema.iter_errors(value)
            for keys, message in _said(error)
        ]
    return sorted(found, key=lambda problem: problem.line)


def line(node: yaml.Node | None, keys: Iterable[str | int]) -> int:
    """Return the line of a key, or of an item, that a path of keys and numbers leads to."""
    at = node.start_mark.line if node else 0
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


def _said(error: ValidationError) -> Iterator[tuple[list[str | int], str]]:
    """Yield what an error says, and where: a field that is not known at its own name, with the nearest ones."""
    keys = list(error.absolute_path)
    where = ".".join(str(key) for key in keys if not isinstance(key, int)) or "the document"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        for name in error.instance:
            if name not in known:
                yield [*keys, name], f"{where} has no field {name}{nearest(str(name), known)}"
    else:
        yield keys, f"{where}: {error.message}"
