"""A control: a stated change under which a claim is false, and under which its proof must fail.

A proof states it above itself. It is read from there, and changes nothing when the proof runs normally:

    @control(edit("postgres/end_idle_transactions.sql", "pg_terminate_backend", "pg_cancel_backend"))
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from dataclasses import replace as changed
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any, TypeVar

from proven.problems import Problem
from proven.sources import settings
from proven.sources.syntax import nodes

Function = TypeVar("Function")
# What no control may change in a proof: an edit of what it asserts can make any proof fail.
ASSERTS = ("raises", "fail")  # of pytest
FORM = '@control(edit("snippet", "old", "new")), or in place of edit here("old", "new") or replace("module:name", 1)'


@dataclass(frozen=True)
class Edit:
    """A text of a snippet is replaced, everywhere in it."""

    snippet: str  # from snippets/
    old: str
    new: str

    def __str__(self) -> str:
        return f"{_becomes(self.old, self.new)} in {_code(self.snippet)}"


@dataclass(frozen=True)
class Here:
    """A text in the lines of the proof, or of a helper, is replaced: a setting, never what they assert."""

    old: str
    new: str
    of: str = ""  # a helper or a fixture, "tests.proofs.pooled:start", else the proof itself

    def __str__(self) -> str:
        return _becomes(self.old, self.new) + (f" in {_code(self.of)}" if self.of else "")


@dataclass(frozen=True)
class Each:
    """Each value of a settings file is changed, one at a time; `to` says into what, `but` which are not, and why."""

    snippet: str
    to: dict[str, str] = field(default_factory=dict)  # {pattern of keys, "*.query_wait_timeout": the other value}
    but: dict[str, list[str]] = field(default_factory=dict)  # {why any value will do, or what holds them: patterns}

    def __post_init__(self) -> None:
        """Raise TypeError for a text in place of a list of patterns: each of its letters would be one."""
        if any(isinstance(patterns, str) for patterns in self.but.values()):
            raise TypeError('but={"why": ["pattern", …]}: each reason has a list of patterns')

    @property
    def free(self) -> list[str]:
        """The patterns of the keys whose values stay as they are."""
        return [pattern for patterns in self.but.values() for pattern in patterns]

    def edits(self, text: str) -> Iterator[tuple[str, Edit]]:
        """Return each value's key, and the edit that changes it, of all the text up to its end, which is unique."""
        for value in settings.values(self.snippet, text):
            if not meets(value.key, self.free):
                new = next((new for pattern, new in self.to.items() if fnmatchcase(value.key, pattern)), None)
                changed = text[: value.begin] + (settings.other(value.text) if new is None else new)
                yield value.key, Edit(self.snippet, text[: value.end], changed)

    def __str__(self) -> str:
        free = f", but for {', '.join(map(_code, self.free))}" if self.but else ""
        return f"any value in {_code(self.snippet)} is another{free}"


@dataclass(frozen=True)
class Replace:
    """A name of a module gets another value: "tests.proofs.pooled:LIMIT"."""

    name: str
    value: Any

    def __str__(self) -> str:
        return f"{_code(self.name)} is {_code(repr(self.value))}"


def meets(key: str, patterns: Iterable[str]) -> bool:
    """Return whether the key of a value matches one of some patterns."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


@dataclass(frozen=True)
class Control:
    """The changes that are in force together, and the error that the proof may fail with beside an AssertionError."""

    changes: tuple[Edit | Each | Here | Replace, ...]
    fails_with: str = ""
    line: int = 1  # where the proof's module states it

    def __call__(self, proof: Function) -> Function:
        """Return the proof as it is."""
        return proof

    def __str__(self) -> str:
        return " and ".join(map(str, self.changes))


@dataclass(frozen=True)
class Without:
    """Why a proof can have no control."""

    reason: str

    def __call__(self, proof: Function) -> Function:
        """Return the proof as it is."""
        return proof


def control(*changes: Edit | Each | Here | Replace, fails_with: str = "") -> Control:
    """State under which changes a proof fails: in an AssertionError, or with an error that has `fails_with` in it."""
    return Control(changes, fails_with)


def no_control(reason: str) -> Without:
    """State why no change can make a proof fail. Few may say so: check.py counts them."""
    return Without(reason)


edit, each, here, replace = Edit, Each, Here, Replace
WORDS = {"control": control, "no_control": no_control, "edit": Edit, "each": Each, "here": Here, "replace": Replace}


def called(node: ast.Call) -> str:
    """Return the name of what is called: "raises" of pytest.raises(…)."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def statements(node: ast.AST) -> list[ast.Call]:
    """Return the decorators that state a control, or why there is none."""
    found = [each for each in getattr(node, "decorator_list", ()) if isinstance(each, ast.Call)]
    return [each for each in found if called(each) in ("control", "no_control")]


def read(node: ast.FunctionDef, path: str, lines: list[str]) -> Iterator[Control | Without | Problem]:
    """Return what is stated above a proof, and a problem for a control that is malformed or changes nothing."""
    for each in statements(node):
        try:
            found = _value(each)
        except (ValueError, TypeError, KeyError, AttributeError):
            yield Problem(path, each.lineno, f"this control is not made of texts alone: {FORM}")
            continue
        if isinstance(found, Control):
            found = changed(found, line=each.lineno)
            segment = "\n".join(lines[node.lineno - 1 : node.end_lineno])  # a proof is not indented
            for change in found.changes:
                if isinstance(change, Here) and not change.of and not spots(segment, change.old, node):
                    yield Problem(path, each.lineno, absent(change.old, f"{node.name}, outside of its assertions"))
        yield found


def absent(old: str, where: str) -> str:
    """Return the message for a control whose text is not there to be changed."""
    return f"this control changes nothing: {old!r} is not in {where}"


def spots(source: str, old: str, function: ast.FunctionDef | None = None) -> list[int]:
    """Return where a function's source has a text outside of its name and its assertions, in bytes from its beginning.

    What stands above the function does not count: a control may quote the same text there. `function` is its node in
    its file's tree, for callers that have it already; `source` then begins with the function.
    """
    text = source.encode()
    begins = [0, 0, *accumulate(len(line) for line in text.splitlines(keepends=True))]  # of each line, from 1
    tree = [function] if function else ast.parse(source).body
    above = function.lineno - 1 if function else 0  # lines above it in its file
    asserted = [
        node
        for node in (part for statement in tree for part in nodes(statement))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and called(node) in ASSERTS)
    ]
    closed = [
        (begins[node.lineno - above] + node.col_offset, begins[last - above] + (node.end_col_offset or 0))
        for node in asserted
        if (last := node.end_lineno or 0) > above
    ]
    first = tree[0].lineno - above if tree else 0
    closed.append((begins[first], text.find(b"(", begins[first])))  # pytest asks for it by its name
    found, at, length = [], text.find(old.encode(), begins[first]), len(old.encode())
    while at >= 0 and length:
        if not any(at < end and begin < at + length for begin, end in closed):
            found.append(at)
        at = text.find(old.encode(), at + length)
    return found


def swap(source: str, old: str, new: str) -> str:
    """Return a function's source with a text changed everywhere outside of its assertions."""
    text = source.encode()
    for at in reversed(spots(source, old)):
        text = text[:at] + new.encode() + text[at + len(old.encode()) :]
    return text.decode()


def _value(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    named = {each.arg or "": _value(each.value) for each in node.keywords}
    return WORDS[called(node)](*map(_value, node.args), **named)


def _becomes(old: str, new: str) -> str:
    """Say what a text becomes, in full: where one text holds the other, it is plain what comes or goes."""
    if new.strip() in ("", "pass"):
        return f"{_code(old)} is missing"
    return f"{_code(old)} is {_code(new)}"


def _code(text: str) -> str:
    """Return a text as Markdown has code in a line, however many lines it has."""
    text = " ".join(text.split())
    return f"`` {text} ``" if "`" in text else f"`{text}`"
