"""A proof: a test function under tests/proofs/. Found by reading the file, so that no page has to import pytest."""

import ast
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from proven import ROOT
from proven.problems import Problem, ProblemError
from proven.sources import characters, controls, no_proof, pages, reach, syntax
from proven.sources.controls import Control, Without

FOLDER = "tests/proofs"


@dataclass(frozen=True)
class Proof:
    """A proof's function name, its place, the strings in it (for finding snippets), and what it rests on."""

    name: str
    path: str
    line: int
    says: str  # its docstring
    strings: frozenset[str]
    parts: dict[str, str] = field(default_factory=dict)  # what it reaches in tests/, itself included, with digests
    controls: tuple[Control, ...] = ()  # under which it must fail
    without: str = ""  # why it can have none


def read(root: Path = ROOT) -> tuple[dict[str, Proof], list[Problem]]:
    """Return every proof by its name, in the order of files and lines, and what is wrong with others."""
    files = sorted((root / FOLDER).rglob("test_*.py"))
    tests = reach.Reach(root)
    found: dict[str, Proof] = {}
    broken = []
    for part in (part for file in files for part in _read(file, file.relative_to(root).as_posix())):
        if isinstance(part, Problem):
            broken.append(part)
        elif other := found.get(part.name):
            message = f"{other.path}:{other.line} has a proof of this name already: rename one"
            broken.append(Problem(part.path, part.line, message))
        else:
            found[part.name] = replace(part, parts=tests.of(part.path, part.name))
    unasserted = (proof for proof in found.values() if not tests.asserts(proof.parts))
    return found, [*broken, *map(_asserts_nothing, unasserted)]


def _asserts_nothing(proof: Proof) -> Problem:
    message = f"{proof.name} asserts nothing, nor does what it calls: assert what its page says"
    return Problem(proof.path, proof.line, message)


def page_of(module: str) -> str:
    """Return the page that a module of proofs is named after.

    tests/proofs/how_to/test_size_connections.py proves docs/how-to/size-connections.md.
    """
    inner = Path(module).relative_to(FOLDER)
    name = inner.stem.removeprefix("test_")
    return (Path(pages.FOLDER) / inner.parent / f"{name}.md").as_posix().replace("_", "-")


def _read(file: Path, path: str) -> list[Proof | Problem]:
    try:
        return _in_file(path, characters.seen(file, path))
    except ProblemError as error:
        return [error.problem]


@cache  # `make serve` asks again for every file when one was edited
def _in_file(path: str, source: str) -> list[Proof | Problem]:
    try:
        tree = syntax.tree(source)
    except SyntaxError as error:
        return [Problem(path, error.lineno or 1, f"no proof in here can be read: {error.msg}")]
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    lines = characters.lines(source)
    found: list[Proof | Problem] = [Problem(path, line, why) for line, why in no_proof.found(tree)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            stated = list(controls.read(node, path, lines))
            found += [each for each in stated if isinstance(each, Problem)]
            found.append(
                Proof(
                    node.name,
                    path,
                    node.lineno,
                    ast.get_docstring(node) or "",
                    frozenset(_strings(node, constants)),
                    controls=tuple(each for each in stated if isinstance(each, Control)),
                    without=next((each.reason for each in stated if isinstance(each, Without)), ""),
                )
            )
    return found


def _strings(node: ast.AST, constants: dict[str, ast.expr]) -> set[str]:
    """Return the string literals in a function, also those it reaches through the module's constants."""
    found = set()
    stated = {part for each in controls.statements(node) for part in ast.walk(each)}
    for part in (part for part in syntax.nodes(node) if part not in stated):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            found.add(part.value)
        elif isinstance(part, ast.Name) and part.id in constants:
            found |= _strings(constants[part.id], {})
    return found
