"""Proves what docs/how-to/check-your-project.md, audit-your-code.md and pool-doctor.md say of copying their files."""

import ast
import json
import os
import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, edit
from setup import others
from tests.proofs.planted import planted

CHECKS = "upstream/pooling_checks"
COMMANDS = "upstream/orders/management/commands"
PATIENCE = 120  # of a new Python, also on a busy machine
OLDEST_PYTHON = (3, 10)
SETTINGS = """
import os
from urllib.parse import urlsplit
url = urlsplit(os.environ["DATABASE_URL"])
SECRET_KEY = "for a second"
INSTALLED_APPS = ["vendored", "vendored.checks"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path[1:],
        "USER": url.username,
        "PASSWORD": url.password,
        "HOST": url.hostname,
        "PORT": url.port,
        "CONN_MAX_AGE": 60,
    }
}
"""
# One process has all three: a new Python takes longer to begin than they do.
ALL = """
import io, json, platform, runpy, sys
from contextlib import suppress
from pathlib import Path
import django
from django.core.management import call_command
django.setup()
checks, doctor = io.StringIO(), io.StringIO()
call_command("check", "--deploy", "--database=default", stderr=checks)
with suppress(SystemExit):
    call_command("pool_doctor", "--json", stdout=doctor)
audit = runpy.run_path("audit.py")["audit"]
found = {str(case): [(each.line, each.rule) for each in audit([case])] for case in Path("planted").iterdir()}
import psycopg
versions = {"Python": platform.python_version(), "Django": django.__version__, "psycopg": psycopg.__version__}
print(json.dumps([versions, checks.getvalue(), doctor.getvalue(), found]))
"""


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """Another project: the checks under another name, the doctor's files in an app, and the audit."""
    snippets.export(tmp_path / "vendored/checks", below=CHECKS)
    snippets.export(tmp_path / "vendored/management/commands", below=COMMANDS)
    for other in (tmp_path / "vendored/management/commands").glob("[!_p]*"):
        other.unlink()
    snippets.export(tmp_path, below="audit")
    (tmp_path / "elsewhere.py").write_text(SETTINGS)
    return tmp_path


@control(edit(f"{CHECKS}/server.py", "databases or ()", "()"))
@control(edit(f"{COMMANDS}/pool_doctor.sql", "'slots'", "'places'"))
@control(edit("audit/audit.py", r"listen\s+", r"unlisten\s+"))
@pytest.mark.parametrize(
    ("release", "python"), [(release, python) for release, pythons in others.COPIED.items() for python in pythons]
)
def test_copied_out_it_runs_in_another_project(release, python, elsewhere, database) -> None:
    """Under another name, in a project of its own: checks of both kinds and the server's, the doctor, and the audit.

    On each Python with a Django that names it, and with psycopg alone; Python 3.10 can read each of the files.
    """
    try:
        program, packages = others.copied(release, python)
    except RuntimeError as error:
        pytest.skip(f"needs Python {python}: {error}")
    (django,) = distributions(name="django", path=[str(packages)])
    assert f"Programming Language :: Python :: {python}" in django.metadata.get_all("Classifier")
    expected = {str(case.relative_to(elsewhere)): each for case, each in planted(elsewhere / "planted").items()}
    done = subprocess.run(
        [program, "-c", ALL],
        cwd=elsewhere,
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database.url,
            "DJANGO_SETTINGS_MODULE": "elsewhere",
            "PYTHONPATH": str(packages),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    versions, checks, doctor, found = json.loads(done.stdout)
    assert versions["Python"].startswith(f"{python}.")
    assert re.findall(r"pooling\.\w+", checks) == ["pooling.W020", "pooling.W033", "pooling.W034"]
    assert {"slots", "sessions"} <= {each["item"] for each in json.loads(doctor)["findings"]}
    assert {case: {(line, rule) for line, rule in each} for case, each in found.items()} == expected
    for file in elsewhere.glob("**/*.py"):
        if not file.is_relative_to(elsewhere / "planted"):
            ast.parse(file.read_text(encoding="utf-8"), feature_version=OLDEST_PYTHON)
    for path in snippets.paths():
        if re.match(rf"{CHECKS}/|{COMMANDS}/_?pool_doctor|audit/", path):
            evidence.ran(snippets.read(path))
    evidence.on(**versions)
