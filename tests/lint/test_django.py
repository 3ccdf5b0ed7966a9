"""Settings that Django would ignore without a word: it asks for the names it knows and for no others."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from django.conf import global_settings
from django.db.utils import ConnectionHandler

from proven import ROOT
from proven.problems import Problem, nearest
from proven.sources import snippets
from proven.sources.snippets import Snippet
from tests.lint.findings import refuse

PROJECT = "upstream"
SETTINGS = f"{PROJECT}/settings/"
# What Django has a default for, and what it, django-tasks or Celery read besides: of itself, then of a database.
KNOWN = {*filter(str.isupper, dir(global_settings)), "ROOT_URLCONF", "TASKS", "CELERY_BROKER_URL"}
KNOWN_OF_A_DATABASE = {*ConnectionHandler({"default": {}}).settings["default"], "DISABLE_SERVER_SIDE_CURSORS"}
# Loads one module of settings as Django does, and prints the names in it and the keys of its databases.
LOAD = """
import importlib, json, sys
names = vars(importlib.import_module(sys.argv[1]))
databases = names.get("DATABASES", {}).values()
print(json.dumps([[name for name in names if name.isupper()], [key for each in databases for key in each]]))
"""


def test_django_knows_every_setting(tmp_path: Path) -> None:
    """Each module of settings loads with .env.example as its .env, and names nothing that Django does not read."""
    refuse(problems(ROOT, tmp_path))


def problems(root: Path, folder: Path) -> list[Problem]:
    """Load every module of settings in an empty folder, and return what Django would ignore in it."""
    project = snippets.export(folder, PROJECT, root)
    (folder / ".env.example").rename(folder / ".env")
    modules = [snippet for snippet in project if snippet.path.startswith(SETTINGS) and snippet.text.strip()]
    assert modules, f"nothing was checked: no settings in {SETTINGS}"
    own = {name for snippet in project if snippet.path.endswith(".py") for name in names_read(snippet)}
    return [problem for module in modules for problem in ignored(module, modules, own, folder)]


def ignored(module: Snippet, modules: list[Snippet], own: set[str], folder: Path) -> list[Problem]:
    """Return the names in one module that neither Django nor the project itself reads."""
    name = module.path.removeprefix(f"{PROJECT}/").removesuffix(".py").replace("/", ".")
    result = subprocess.run([sys.executable, "-c", LOAD, name], cwd=folder, env={}, capture_output=True, text=True)
    if result.returncode:
        return [Problem(module.place, 1, f"does not load with .env.example: {result.stderr.splitlines()[-1]}")]
    names, keys = json.loads(result.stdout)
    return [
        *(_ignored(name, KNOWN, modules) for name in names if name not in KNOWN | own),
        *(_ignored(key, KNOWN_OF_A_DATABASE, modules) for key in keys if key not in KNOWN_OF_A_DATABASE),
    ]


def names_read(snippet: Snippet) -> set[str]:
    """Return the names that a module reads, its own and other objects'."""
    nodes = list(ast.walk(ast.parse(snippet.text)))
    plain = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return plain | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def _ignored(name: str, known: set[str], modules: list[Snippet]) -> Problem:
    """Return the problem at the place where the name first stands."""
    where = (
        (module.place, module.source_line(number))
        for module in modules
        for number, line in enumerate(module.text.splitlines(), start=1)
        if re.search(rf"\b{name}\b", line)
    )
    path, line = next(where, (modules[0].place, 1))
    return Problem(path, line, f"Django reads no setting called {name}{nearest(name, known)}")
