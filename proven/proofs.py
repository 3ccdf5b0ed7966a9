"""A proof: a test function under tests/proofs/. Found by reading the file, so that no page has to import pytest."""

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path

from proven import ROOT

FOLDER = "tests/proofs"


@dataclass(frozen=True)
class Proof:
    """A proof's function name, its place, the digest of its source, and the strings in it (for finding snippets)."""

    name: str
    path: str
    line: int
    digest: str
    strings: frozenset[str]


def read_all(root: Path = ROOT) -> dict[str, Proof]:
    """Return every proof by its name. Two proofs of one name: the later one wins; check.py reports them."""
    return {proof.name: proof for proof in listing(root)}


def listing(root: Path = ROOT) -> list[Proof]:
    """Return every proof, in the order of files and lines."""
    return [proof for file in sorted((root / FOLDER).rglob("test_*.py")) for proof in _in_file(file, root)]


def _in_file(file: Path, root: Path) -> list[Proof]:
    source = file.read_text(encoding="utf-8")
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []  # pytest and ruff say so, with the line
    lines = source.splitlines()
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            text = "\n".join(lines[first - 1 : node.end_lineno])
            found.append(
                Proof(
                    node.name,
                    file.relative_to(root).as_posix(),
                    node.lineno,
                    hashlib.sha256(text.encode()).hexdigest(),
                    frozenset(_strings(node, constants)),
                )
            )
    return found


def _strings(node: ast.AST, constants: dict[str, ast.expr]) -> set[str]:
    """Return the string literals in a function, also those it reaches through the module's constants."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            found.add(part.value)
        elif isinstance(part, ast.Name) and part.id in constants:
            found |= _strings(constants[part.id], {})
    return found
