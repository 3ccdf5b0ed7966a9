"""Puts the changes of a control in force: in a copy of the snippets, in the lines of functions, in names of modules."""

import functools
import importlib
import inspect
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FunctionType
from typing import Any

import pytest

from proven import ROOT
from proven.problems import ProblemError
from proven.sources import controls, snippets
from proven.sources.controls import Control, Edit, Here, Replace


@contextmanager
def in_force(control: Control, proof: Callable[..., object], path: str) -> Iterator[None]:
    """Put a control's changes in force for as long as the block lasts.

    Raises ProblemError where there is nothing to change.
    """
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        copy = Path(folder, snippets.FOLDER)
        sources: dict[Any, str] = {}  # of each function, with the changes so far
        for change in control.changes:
            if isinstance(change, Edit):
                if not copy.exists():
                    shutil.copytree(ROOT / snippets.FOLDER, copy)
                    patch.setenv(snippets.ELSEWHERE, str(copy))
                file = copy / change.snippet
                if not file.is_file() or change.old not in (text := file.read_text(encoding="utf-8")):
                    raise ProblemError(path, control.line, controls.absent(change.old, f"snippets/{change.snippet}"))
                file.write_text(text.replace(change.old, change.new), encoding="utf-8")
            elif isinstance(change, Here):
                of = getattr(*named(change.of, path, control.line)) if change.of else proof
                function = inspect.unwrap(of)
                source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
                sources[function] = controls.swap(source, change.old, change.new)
                if sources[function] == source:
                    where = f"{function.__name__}, outside of its assertions"
                    raise ProblemError(path, control.line, controls.absent(change.old, where))
                patch.setattr(function, "__code__", compiled(function, sources[function], path, control.line))
            elif isinstance(change, Replace):
                patch.setattr(*named(change.name, path, control.line), change.value)
        forget()
        yield
    forget()


def compiled(function: Any, source: str, path: str, line: int) -> CodeType:
    """Return the code of a function with another source, which a control's line has made."""
    begin = "\n" * (function.__code__.co_firstlineno - 1)
    try:
        whole = compile(begin + source, function.__code__.co_filename, "exec")
    except SyntaxError:
        message = f"{function.__name__} is not valid Python with this control's changes in it"
        raise ProblemError(path, line, message) from None
    return next(each for each in whole.co_consts if isinstance(each, CodeType) and each.co_name == function.__name__)


def named(name: str, path: str, line: int) -> tuple[Any, str]:
    """Return the owner of a name, and the name in it: for "tests.proofs.pooled:Setup.start", the class and "start".

    Raises ProblemError where nothing has that name.
    """
    module, _, inner = name.partition(":")
    *outer, last = inner.split(".")
    try:
        owner = functools.reduce(getattr, outer, importlib.import_module(module))
        getattr(owner, last)
    except (ImportError, AttributeError):
        raise ProblemError(path, line, f"nothing is called {name}: write module:name") from None
    return owner, last


def forget() -> None:
    """Clear the caches of proofs and linters, which may hold snippets; those of tests/stack/ hold programs only."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("tests.proofs.", "tests.lint.")):
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper) and isinstance(value.__wrapped__, FunctionType):
                    value.cache_clear()
