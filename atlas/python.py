"""What packages of Python say: each exception that they raise and warning that they log, from their syntax trees.

asyncpg ships the source of its compiled parts, in Cython, which has no such tree: there the words after an exception's
name are read.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from atlas.text import Text, plain

# The modules that open, keep and end connections, by the name of the program.
MODULES = {
    "psycopg 3": ("psycopg/*.py",),
    "psycopg_pool": ("psycopg_pool/*.py",),
    "psycopg2": ("psycopg2/*.py",),
    "asyncpg": ("asyncpg/*.py", "asyncpg/protocol/*.pyx"),
    "Django": (
        "django/db/utils.py",
        "django/db/backends/base/base.py",
        "django/db/backends/postgresql/base.py",
        "django/db/backends/utils.py",
        "django/utils/asyncio.py",
        "django/core/checks/database.py",
    ),
    "Gunicorn": ("gunicorn/arbiter.py", "gunicorn/workers/*.py"),
    "Celery": (
        "celery/fixups/*.py",
        "celery/worker/*.py",
        "celery/concurrency/*.py",
        "celery/backends/database/*.py",
        "billiard/pool.py",
    ),
}
# An exception's name, and its words: strings one after another, as long lines are split.
WORDS = re.compile(r"(?:exceptions|apg_exc)\.(\w+Error)\(\s*((?:f?'[^'\n]*'\s*|f?\"[^\"\n]*\"\s*)+)")
STRINGS = re.compile(r"'([^']*)'|\"([^\"]*)\"")
LOGS = {"warning", "error", "critical", "exception", "warn"}


def texts(by: str, installed: Path) -> Iterator[Text]:
    """Return what the modules of a package say, in a folder of packages."""
    for pattern in MODULES[by]:
        for file in sorted(installed.glob(pattern)):
            source = file.read_text(encoding="utf-8")
            if file.suffix == ".pyx":
                yield from _written(by, source)
                continue
            for node in ast.walk(ast.parse(source)):
                yield from _said(by, node)


def _written(by: str, source: str) -> Iterator[Text]:
    for name, words in WORDS.findall(source):
        yield Text(by, plain("".join(one or other for one, other in STRINGS.findall(words))), name)


def _said(by: str, node: ast.AST) -> Iterator[Text]:
    call = node.exc if isinstance(node, ast.Raise) else node
    if not isinstance(call, ast.Call) or not call.args:
        return
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if isinstance(node, ast.Raise) or name in LOGS:
        text = _text(call.args[0])
        if " " in text:
            yield Text(by, plain(text), name)


def _text(node: ast.AST) -> str:
    """Return what an expression writes, as far as the source shows it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or "{}" for part in parts)
        case ast.BinOp(left=left, op=ast.Mod()):
            return _text(left)
        case ast.BinOp(left=left, right=right, op=ast.Add()):
            return _text(left) + (_text(right) or "{}")
        case ast.Call(func=ast.Attribute(value=inner, attr="format")):
            return _text(inner)
    return ""
