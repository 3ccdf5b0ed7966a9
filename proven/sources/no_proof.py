"""What looks like a proof and is none: a test that no page can name, and one that passes whatever happens."""

import ast
from collections.abc import Iterator

from proven.sources.controls import called
from proven.sources.syntax import nodes

PLAIN = "a proof is a plain function at the top of its module, which pages name: make it one"
ANYTHING = ("Exception", "BaseException")
# Most nodes of a file are none of these.
TELLING = {ast.AsyncFunctionDef, ast.FunctionDef, ast.Assign, ast.ImportFrom, ast.ExceptHandler, ast.Call}


def found(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return the line of each, and what is wrong with it."""
    for node in (part for statement in tree.body for part in nodes(statement) if type(part) in TELLING):
        line = getattr(node, "lineno", 1)
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield line, f"{node.name} is async: {PLAIN}"
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and node not in tree.body:
            yield line, f"{node.name} stands in a class, under an if or in a function: {PLAIN}"
        elif isinstance(node, ast.Assign | ast.ImportFrom):
            yield from ((line, f"{name} is another name of something: {PLAIN}") for name in _aliases(node))
        elif isinstance(node, ast.ExceptHandler) and (node.type is None or _anything(node.type)):
            yield line, "it catches every error, so the proof passes: name the error that it expects"
        elif isinstance(node, ast.Call) and _takes_anything(node):
            yield line, "it accepts any error: name the expected error, or its text with match="


def _aliases(node: ast.Assign | ast.ImportFrom) -> Iterator[str]:
    named = node.targets if isinstance(node, ast.Assign) else []
    names = [target.id for target in named if isinstance(target, ast.Name)]
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.proofs"):
        names += [each.asname or each.name for each in node.names]
    yield from (name for name in names if name.startswith("test_"))


def _takes_anything(node: ast.Call) -> bool:
    """Return whether a call is pytest.raises(Exception) without its text, or suppress(Exception)."""
    matches = any(each.arg == "match" for each in node.keywords)
    return called(node) in ("raises", "suppress") and not matches and any(_anything(each) for each in node.args)


def _anything(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id in ANYTHING for part in ast.walk(node))
