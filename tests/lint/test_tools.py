"""The command-line tools that check every file of their kind, one row each. Their settings are in pyproject.toml."""

import os
import shutil
import subprocess
import sysconfig
from functools import partial
from pathlib import Path

import pytest

from proven import ROOT
from tests.lint import files
from tests.lint.findings import parse, refuse
from tests.stack.wait import DEADLINE

SCRIPTS = sysconfig.get_path("scripts")
# A tool finds another one beside it (actionlint runs shellcheck), and none of them writes colours.
ENVIRONMENT = {**os.environ, "PATH": os.pathsep.join([SCRIPTS, os.environ.get("PATH", "")]), "NO_COLOR": "1"}

PYTHON = partial(files.matching, "*.py", without=("snippets/*",))
WORKFLOWS = partial(files.matching, ".github/workflows/*", "snippets/verify/*.yml")
TOOLS = {
    "ruff check --output-format=concise": PYTHON,
    "ruff format --check --output-format=concise": PYTHON,
    # As wide as a page shows without scrolling.
    "ruff check --line-length=80 --output-format=concise": partial(files.matching, "snippets/*.py"),
    "ruff format --check --line-length=80 --output-format=concise": files.formatted_snippets,
    "pyrefly check --output-format=min-text --summary=none": partial(files.matching, "*.py"),
    "sqlfluff lint --format=github-annotation-native": partial(files.matching, "*.sql"),
    "shellcheck --format=gcc": files.shell,
    "rumdl check --output-format=concise": partial(files.matching, "*.md"),
    "tombi lint --offline --diagnostics-format=github": partial(files.matching, "*.toml"),
    "yamllint --strict --format=parsable": partial(files.matching, "*.yml", "*.yaml"),
    "actionlint -oneline": WORKFLOWS,
    "check-jsonschema --builtin-schema=vendor.dependabot": partial(files.matching, ".github/dependabot.yml"),
    "check-jsonschema --builtin-schema=vendor.github-actions": partial(files.matching, "action.yml"),
    "check-jsonschema --builtin-schema=vendor.compose-spec": partial(files.matching, "snippets/*compose.yaml"),
    "hadolint --format=gnu": partial(files.matching, "snippets/*Dockerfile"),
    "zizmor --offline --no-progress --format=github": partial(files.matching, ".github/*.yml", "action.yml"),
    # Left out: what a machine writes for a machine, and mistakes made on purpose.
    "typos --format=brief": partial(
        files.matching,
        "*",
        without=("requirements.lock", "docs/data/*", "tests/lint/gcloud.json", "*.png", "tests/guard/*"),
    ),
}


@pytest.mark.parametrize("command", TOOLS)
def test_is_content_with_every_file_of_its_kind(command: str) -> None:
    """Each finding is a line that names its file and its line."""
    result = run(command, TOOLS[command]())
    if result.returncode:
        said = result.stdout + result.stderr
        refuse(parse(said))
        pytest.fail(f"{command} ended with {result.returncode}:\n{said}", pytrace=False)


def run(command: str, paths: list[str], root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool on files; return its result, also when it found something."""
    name, *options = command.split()
    executable = shutil.which(name, path=ENVIRONMENT["PATH"])
    if executable is None:
        pytest.fail(f"{name} is not installed: make test installs it", pytrace=False)
    return subprocess.run(
        [executable, *options, *paths], cwd=root, env=ENVIRONMENT, capture_output=True, text=True, timeout=5 * DEADLINE
    )
