"""Find a control for each proof that states none: try a table of edits, and write down the first that it fails under.

    python -m tests.stack.find_controls tests/proofs/how_to/test_monitor.py

The edits are of the snippets that the proof runs, then of settings in its own lines. What is written is to be read: of
two edits that a proof fails under, the better one is that which makes the claim itself false.
"""

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from proven import ROOT, controls, guide
from proven.evidence import running
from proven.problems import Problem
from proven.sources import snippets
from proven.sources.controls import Control, Edit, Here, spots, statements
from proven.sources.proofs import Proof
from tests.stack import wait

PATIENCE = 45  # seconds for each proof
LONGEST = 76  # characters of an edit, on either side: a person reads it
# What is said, and what says something else. Each is tried both ways.
OPPOSITES = (
    ("pg_terminate_backend", "pg_cancel_backend"),
    ("session", "transaction"),
    ("transaction", "statement"),
    ("idle in transaction", "active"),
    ("idle", "active"),
    ("true", "false"),
    ("True", "False"),
    ("on", "off"),
    ("and", "or"),
    ("asc", "desc"),
    ("min", "max"),
    ("grant", "revoke"),
    ("local", "session"),
    (">", "<"),
    (">=", "<"),
    ("=", "<>"),
    ("==", "!="),
    ("+", "-"),
    ("*", "/"),
    ("is not null", "is null"),
    ("require", "disable"),
    ("verify-full", "disable"),
    ("PAUSE", "SUSPEND"),
    ("RECONNECT", "RELOAD"),
    ("if", "if not"),
)
COMMENT = re.compile(r"\s*(?:--|#|;|//|\"\"\"|import |from \w+ import )")
NUMBER = re.compile(r"(?<![\w.$%])\d+(?![\w.])")


class Finder(controls.Watched):
    """A run that looks for controls, and writes what it found into the modules of the proofs."""

    def __init__(self) -> None:
        self.guide = guide.read()
        self.cases: dict[str, list[pytest.Function]] = {}
        self.found: dict[str, str] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the proofs that state no control."""
        for item in items:
            name = getattr(item, "originalname", "")
            proof = self.guide.proofs.get(name)
            if isinstance(item, pytest.Function) and proof and not proof.controls and not proof.without:
                self.cases.setdefault(name, []).append(item)
        items[:] = [cases[0] for cases in self.cases.values()]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> bool:
        """Run the proof as it is, and where it passes with each edit in turn."""
        cases, proof = self.cases[item.originalname], self.guide.proofs[item.originalname]
        ran: set[str] = set()
        for case in cases:
            running.begin()
            if not all(report.passed for report in runtestprotocol(case, log=False, nextitem=None)):
                print(f"{proof.name}: does not pass here", flush=True)
                return True
            ran |= set(running.current.words)
        begun = time.monotonic()
        for change in self.changes(proof, ran):
            if time.monotonic() - begun > PATIENCE:
                break
            why = controls.holds_under(cases, Control((change,)), proof.path)
            if not why:
                self.found[proof.name] = stated(change)
                break
        print(f"{proof.name}: {self.found.get(proof.name, 'nothing found')}", flush=True)
        return True

    def changes(self, proof: Proof, ran: set[str]) -> Iterator[Edit | Here]:
        """Return the edits to try: of snippets that the proof names, of its own lines, of the others that it runs."""
        named = sorted(path for path in ran if path in proof.strings)
        others = sorted(path for path in ran if path not in named and not path.startswith("upstream/"))
        for path in named:
            yield from (Edit(path, old, new) for old, new in edits(snippets.read(path).text))
        yield from (Here(old, new) for old, new in in_function(proof))
        for path in others:
            yield from (Edit(path, old, new) for old, new in edits(snippets.read(path).text))

    def pytest_sessionfinish(self) -> None:
        """Write what was found."""
        for path in sorted({self.guide.proofs[name].path for name in self.found}):
            write(ROOT / path, self.found)


def edits(text: str) -> Iterator[tuple[str, str]]:
    """Return edits of a snippet: opposites in each line, other numbers, and each line left out."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not COMMENT.match(line)]
    seen = set()
    for change in (swapped, renumbered, left_out):
        for line in lines:
            for edit in change(line):
                if edit not in seen and max(map(len, edit)) <= LONGEST:
                    seen.add(edit)
                    yield edit


def swapped(text: str) -> Iterator[tuple[str, str]]:
    """Return a text with one word that says the opposite."""
    for pair in OPPOSITES:
        for old, new in (pair, pair[::-1]):
            word = rf"(?<![\w<>=!+*/-]){re.escape(old)}(?![\w<>=!+*/-])"
            for at in re.finditer(word, text):
                yield text, text[: at.start()] + new + text[at.end() :]


def renumbered(text: str) -> Iterator[tuple[str, str]]:
    """Return a text with another number."""
    for at in NUMBER.finditer(text):
        value = int(at[0])
        for other in (value * 10, value // 10, 0, value + 1):
            if other != value:
                yield text, f"{text[: at.start()]}{other}{text[at.end() :]}"


def left_out(text: str) -> Iterator[tuple[str, str]]:
    """Return a text that is gone."""
    if len(text) > 3:
        yield text, ""


def in_function(proof: Proof) -> Iterator[tuple[str, str]]:
    """Return edits of the settings in a proof's own lines, and of statements: each is left out."""
    source = (ROOT / proof.path).read_text(encoding="utf-8")
    node = next(each for each in ast.parse(source).body if getattr(each, "name", "") == proof.name)
    assert isinstance(node, ast.FunctionDef)
    function = ast.get_source_segment(source, node) or ""
    body = node.body[1:]  # behind the docstring
    parts = [part for statement in body for part in ast.walk(statement)]
    texts = [ast.get_source_segment(source, part) for part in parts if isinstance(part, ast.keyword)]
    texts += [ast.get_source_segment(source, part) for part in parts if isinstance(part, ast.Constant)]
    done = [ast.get_source_segment(source, part) for part in parts if isinstance(part, ast.Expr)]
    tried = [edit for text in texts if text for change in (swapped, renumbered) for edit in change(text)]
    tried += [(text, "pass") for text in done if text and "\n" not in text]
    for old, new in dict.fromkeys(tried):
        if len(old) > 2 and len(old) <= LONGEST and spots(function, old):
            yield old, new


def stated(change: Edit | Here) -> str:
    """Return a control as a decorator."""
    texts = [change.old, change.new] if isinstance(change, Here) else [change.snippet, change.old, change.new]
    quoted = (f"'{text}'" if '"' in text and "'" not in text and "\\" not in text else quote(text) for text in texts)
    return f"@control({type(change).__name__.lower()}({', '.join(quoted)}))"


def quote(text: str) -> str:
    """Return a text as Python has it, in double quotes where that needs no more backslashes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def write(file: Path, found: dict[str, str]) -> None:
    """Write controls above their proofs, and import what they need."""
    source = file.read_text(encoding="utf-8")
    lines, tree = source.splitlines(keepends=True), ast.parse(source)
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name in found and not statements(node):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            lines.insert(first - 1, found[node.name] + "\n")
    text = "".join(lines)
    words = {"control", *re.findall(r"^@control\((\w+)\(", text, re.MULTILINE)}
    module = "from proven.sources.controls import "
    if old := re.search(rf"^{module}(.+)$", text, re.MULTILINE):
        words |= set(old[1].split(", "))
        text = text.replace(old[0], module + ", ".join(sorted(words)), 1)
    else:
        last = max(each.end_lineno or 0 for each in tree.body if isinstance(each, ast.Import | ast.ImportFrom))
        begin = text.splitlines(keepends=True)
        text = "".join([*begin[:last], module + ", ".join(sorted(words)) + "\n", *begin[last:]])
    file.write_text(text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--quiet", "--select", "I", "--fix", str(file)], check=True)
    subprocess.run([*ruff, "format", "--quiet", str(file)], check=True)


def main() -> int:
    """Look for controls of the proofs in some modules."""
    wait.DEADLINE = 3.0
    controls.HANGS = 20
    if not sys.argv[1:]:
        sys.exit(str(Problem("tests/proofs", 1, "name the modules whose proofs lack a control")))
    return int(pytest.main(["-n0", "--capture=no", *sys.argv[1:]], plugins=[Finder()]))


if __name__ == "__main__":
    sys.exit(main())
