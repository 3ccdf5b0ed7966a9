"""What a proof rests on beside its own lines: the helpers, constants and fixtures of tests/ that its function reaches.

Found by reading alone, from name to name, through imports and the fixtures that parameters ask for. It ends at
tests/stack, which starts and stops the servers and has tests of its own; only the fixtures there count.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from proven.sources import characters, controls
from proven.sources.syntax import nodes, tree

FOLDER = "tests"
PLUGINS = "conftest.py"  # names the modules whose fixtures every test may ask for
ENDS = "tests/stack"
ASSERTS = re.compile(r"\bassert\b|\braise\b|\b(?:raises|fail|until|transcript)\(")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Part:
    """A function, class or constant at the top of a module: its text, and the names in it."""

    text: str
    names: frozenset[str]  # "until", or "pooled.reader" for a name in another module
    asks: frozenset[str] = frozenset()  # the fixtures that a function asks for

    @cached_property
    def asserts(self) -> bool:
        """Whether it can fail because of what it saw."""
        return bool(ASSERTS.search(self.text))


@dataclass
class Module:
    """A module's parts, and what it imports of tests/: name → (module, name there, or nothing)."""

    parts: dict[str, Part] = field(default_factory=dict)
    always: list[str] = field(default_factory=list)  # the parts that count although nothing names them
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


class Reach:
    """The modules of a project's tests, each read when something leads to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[str, Module] = {}
        self._parts: dict[tuple[str, str], tuple[str, list[tuple[str, str]]]] = {}
        self.plugins = self._plugins()

    def of(self, path: str, name: str) -> dict[str, str]:
        """Return what a function reaches, itself included: "tests/proofs/pooled.py::start" → the digest of its text."""
        found: dict[str, str] = {}
        ahead = [*self._places(path, name)]
        ahead += [(path, other) for other in self._module(path).always]
        while ahead:
            place = ahead.pop()
            named = "::".join(place)
            if named not in found:
                found[named], leads = self._part(*place)
                ahead += leads
        return found

    def asserts(self, found: dict[str, str]) -> bool:
        """Return whether anything that a function reaches can make it fail because of what it saw."""
        places = (key.split("::") for key in found)
        return any(self._module(path).parts[name].asserts for path, name in places)

    def _part(self, path: str, name: str) -> tuple[str, list[tuple[str, str]]]:
        """Return the digest of a part, and the places that it leads to. Many proofs reach it: it is read once."""
        if (path, name) not in self._parts:
            module = self._module(path)
            part = module.parts[name]
            names = [used.partition(".") for used in part.names]
            names = [used for used in names if used[0] in module.parts or used[0] in module.imports]
            leads = [place for first, _, then in names for place in self._places(path, first, then)]
            leads += [place for fixture in part.asks for place in self._fixture(path, fixture)]
            self._parts[path, name] = digest(f"{path}::{name}\n{part.text}"), leads
        return self._parts[path, name]

    def _places(self, path: str, name: str, then: str = "") -> Iterator[tuple[str, str]]:
        """Return where in tests/ a module's name is defined: here, where it is imported from, or as `then` in that."""
        module = self._module(path)
        if name in module.parts:
            yield path, name
        elif name in module.imports:
            package, inner = module.imports[name]
            for other, what in ((_file(package), inner), (_file(f"{package}.{inner}".strip(".")), then)):
                if what and not other.startswith(f"{ENDS}/"):
                    yield from self._places(other, what)

    def _fixture(self, path: str, name: str) -> Iterator[tuple[str, str]]:
        """Return where a fixture is defined: in the module that asks for it, or in one for all tests."""
        module = self._module(path)
        if name in module.parts or name in module.imports:
            yield from self._places(path, name)
        else:
            yield from [(plugin, name) for plugin in self.plugins if name in self._module(plugin).parts][:1]

    def _module(self, path: str) -> Module:
        if path not in self._modules:
            file = self.root / path
            self._modules[path] = (
                _read(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else Module()
            )
        return self._modules[path]

    def _plugins(self) -> list[str]:
        """Return the modules whose fixtures every test may ask for: conftest.py, and those that it names."""
        file = self.root / PLUGINS
        names = [
            part.value
            for node in (_top(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else ())
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytest_plugins"
            for part in ast.walk(node.value)
            if isinstance(part, ast.Constant)
        ]
        return [PLUGINS, *(_file(str(name)) for name in names if str(name).startswith(f"{FOLDER}."))]


@cache
def digest(text: str) -> str:
    """Return a digest of a part, given its place and its text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _file(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def _top(source: str) -> list[ast.stmt]:
    try:
        return tree(source).body
    except SyntaxError:  # running it says what is wrong with it
        return []


@cache
def _read(source: str) -> Module:
    module, lines = Module(), characters.lines(source)
    for node in _top(source):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == FOLDER:
            module.imports |= {each.asname or each.name: (node.module, each.name) for each in node.names}
        for name in _defines(node):
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
            # A proof's controls are not part of what it shows: a new control outdates no evidence.
            without = {n for each in controls.statements(node) for n in range(each.lineno, (each.end_lineno or 0) + 1)}
            text = "\n".join(lines[n - 1] for n in range(first, (node.end_lineno or 0) + 1) if n not in without)
            module.parts[name] = Part(text, frozenset(_names(node)), frozenset(_asks(node)))
            if name == "pytestmark" or "autouse=True" in text:
                module.always.append(name)
    return module


def _defines(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Function | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))


def _names(node: ast.AST) -> Iterator[str]:
    """Return the names in a part; an attribute goes with the name before it, as in "pooled.reader"."""
    for part in nodes(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            yield f"{part.value.id}.{part.attr}"
        elif isinstance(part, ast.Name):
            yield part.id


def _asks(node: ast.AST) -> Iterator[str]:
    """Return the fixtures that a function asks for by its parameters, and those that a mark names."""
    if isinstance(node, Function):
        yield from (each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
    for part in nodes(node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "usefixtures":
            yield from (str(each.value) for each in part.args if isinstance(each, ast.Constant))
