"""What runs in continuous integration and before a commit is what runs here."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from proven import ROOT


def test_pull_requests_and_main_run_make_test() -> None:
    """The workflow adds nothing to the command that a contributor runs; what publishes main calls it first."""
    workflow = read(".github/workflows/ci.yml")
    triggers = workflow[True]  # to YAML, `on` is a yes
    assert {"pull_request", "workflow_call"} <= set(triggers)
    assert workflow["permissions"] == {"contents": "read"}
    assert "make test" in [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    publish = read(".github/workflows/publish.yml")
    assert publish[True]["push"]["branches"] == ["main"]
    assert publish["jobs"]["test"]["uses"].endswith("/.github/workflows/ci.yml")
    assert publish["jobs"]["build"]["needs"] == "test"
    assert publish["jobs"]["deploy"]["needs"] == "build"


def test_only_what_publishes_may_publish() -> None:
    """No workflow may do anything by default; one job may deploy, and one may propose a change."""
    granted = {}
    for file in sorted((ROOT / ".github/workflows").iterdir()):
        workflow = read(f".github/workflows/{file.name}")
        assert workflow["permissions"] in ({}, {"contents": "read"}), file.name
        for name, job in workflow["jobs"].items():
            assert "timeout-minutes" in job or "uses" in job, f"{file.name}: {name} may run for hours"
            writes = {what for what, how in job.get("permissions", {}).items() if how == "write"}
            granted |= {f"{file.name}: {name}": writes} if writes else {}
    assert granted == {
        "publish.yml: deploy": {"id-token", "pages"},
        "update.yml: lock": {"contents", "pull-requests"},
    }


def test_the_job_reaches_its_own_postgresql() -> None:
    """DATABASE_URL names the service: its port and its password, which is no secret."""
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    service = job["services"]["postgres"]
    url = urlsplit(job["env"]["DATABASE_URL"])
    assert f"{url.port}:5432" in service["ports"]
    assert url.password == service["env"]["POSTGRES_PASSWORD"] == "placeholder"


def test_a_commit_runs_these_linters() -> None:
    """The hook calls pytest on this folder: no tool and no version is named a second time."""
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    (hook,) = repository["hooks"]
    assert hook["language"] == "system"
    assert hook["entry"].split() == [".venv/bin/pytest", "tests/lint"]
    assert hook["pass_filenames"] is False
    assert hook["always_run"] is True


def read(path: str) -> Any:
    """Return what a YAML file holds."""
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_ci_knows_why_a_proof_may_be_left_out() -> None:
    """Of each skip that is written out; and nothing is on the list that nobody says."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    may = settings["tool"]["pytest"]["may_be_left_out"]
    files = [file for folder in ("proofs", "stack") for file in sorted((ROOT / "tests" / folder).rglob("*.py"))]
    said = [reason for file in files for reason in reasons(file)]
    assert len(said) > 20
    unknown = [reason for reason in said if not any(part in reason or part.startswith(reason) for part in may)]
    assert unknown == ["its packages cannot be fetched: "] * 2
    everything = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))
    assert [part for part in may if part.removeprefix("needs ") not in everything] == []


def reasons(file: Path) -> Iterator[str]:
    """Return why a module leaves proofs out: what it says from its beginning, where a part comes from elsewhere."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.skip":
            (said,) = node.args
            first = said.values[0] if isinstance(said, ast.JoinedStr) else said
            if isinstance(first, ast.Constant):
                yield str(first.value)
