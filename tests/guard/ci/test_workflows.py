"""Every `run:` step of every workflow, run here as GitHub runs it: in a fresh copy, by bash, as the job says.

A PostgreSQL with a password stands in for the service container, and a folder for the artifacts that jobs hand on.
What is narrowed, for the time it takes:

- `make test` runs one proof in one process, and `make matrix` that proof, through the variables that MAKEFLAGS sets in
  make; the matrix on a machine that reaches nothing: on the stacks that need no download.
- The copy's `.venv` is made before the first step, with the caches of this machine and the bytecode of its `.venv`.

Steps that change the machine or ask other hosts are not run. Each is reported as skipped, with the reason.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from proven import ROOT
from proven.evidence import ledger
from setup import shell
from tests.guard.setup.shells import somebodys
from tests.lint import files
from tests.stack.postgres import Cluster

# What a step's commands begin with, and why no such step runs here.
NOT_HERE = {
    "sudo": "changes the machine: this step needs GitHub's",
    "apt-get": "changes the machine: .ci/run makes one of its own",
    "runuser": "needs root: .ci/run does the same on a machine of its own",
    "gh": "asks GitHub",
    "make links": "asks other hosts; test_links.py asks one here",
    "make lock": "asks the package registry for what is newest",
}
# What GitHub would put for an expression. Any other is a mistake here, or a new one there.
EXPRESSIONS = {
    "github.token": "none",
    "steps.pages.outputs.base_url": "https://guide.example",
}
PROOF = "test_a_parallel_query_is_one_connection"
NARROWED = rf"PARALLEL=--only\ {PROOF}\ tests/proofs/how_to/test_see_connections.py ONLY={PROOF}"
# In the order in which they hand evidence on.
WORKFLOWS = ("ci.yml", "matrix.yml", "publish.yml", "links.yml", "update.yml")


@dataclass(frozen=True)
class Step:
    """One step of a job: its place, what it says, and the environment that the job gives it."""

    workflow: str
    says: dict[str, Any]
    job: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.workflow}: {self.says.get('name') or self.says.get('uses') or self.says['run'].strip()}"

    @property
    def left_out(self) -> str:
        """Why it is not run here, or nothing."""
        lines = str(self.says.get("run", "")).splitlines()
        commands = [re.sub(r"^\s*(?:\w+=\$\()?", "", line) for line in lines]
        return next(
            (why for name, why in NOT_HERE.items() for line in commands if f"{line} ".startswith(f"{name} ")), ""
        )


def steps() -> list[Step]:
    """Return every step of every workflow, in order."""
    found = []
    for name in WORKFLOWS:
        workflow = yaml.safe_load((ROOT / ".github/workflows" / name).read_text(encoding="utf-8"))
        for job in workflow["jobs"].values():
            found += [Step(name, step, job) for step in job.get("steps", [])]
    return found


def test_no_workflow_is_forgotten() -> None:
    """Each is in the list above, and so its steps are run."""
    assert sorted(WORKFLOWS) == sorted(file.name for file in (ROOT / ".github/workflows").iterdir())


def test_every_step_runs(tmp_path: Path, service: Cluster) -> None:
    """In the order of the jobs, each with what the ones before it handed on."""
    runner = Runner(tmp_path, service)
    ran = 0
    for step in steps():
        if not step.left_out:
            ran += "run" in step.says
            runner.run(step)
    assert ran >= 3, "test, matrix and site"
    (run,) = [run for run in ledger.load(tmp_path / "artifacts/ledger-ci/ledger.json") if run.outcome == "passed"]
    assert run.stack["PostgreSQL"] == service.server.version()


@pytest.mark.parametrize("step", [step for step in steps() if step.left_out], ids=str)
def test_is_not_run_here(step: Step) -> None:
    """So that each run of the tests says which steps it leaves out."""
    pytest.skip(f"{step}: {step.left_out}")


def test_a_step_that_fails_is_named(tmp_path: Path, service: Cluster) -> None:
    """As GitHub does: the first line that fails ends it, also where another would succeed."""
    step = Step("case.yml", {"name": "Two lines", "run": "echo said; false\ntrue"}, {})
    with pytest.raises(pytest.fail.Exception, match=r"(?s)case.yml: Two lines: ended with 1.*said"):
        Runner(tmp_path, service, environment=False).run(step)


def test_an_unknown_expression_is_named(tmp_path: Path, service: Cluster) -> None:
    """Nothing is guessed for what only GitHub knows."""
    step = Step("case.yml", {"run": "true", "env": {"SECRET": "${{ secrets.ONE }}"}}, {})
    with pytest.raises(pytest.fail.Exception, match=r"secrets\.ONE"):
        Runner(tmp_path, service, environment=False).run(step)


@pytest.fixture(scope="module")
def service() -> Iterator[Cluster]:
    """What a job calls its service: a PostgreSQL whose superuser has the password that the workflow names."""
    cluster = Cluster()
    with cluster.server.connect() as connection:
        connection.execute("alter role postgres password 'placeholder'")
    yield cluster
    cluster.stop()


class Runner:
    """A machine for the steps: a copy of the project, and the artifacts that were handed on."""

    def __init__(self, folder: Path, service: Cluster, environment: bool = True) -> None:
        self.project = folder / "project"
        self.artifacts = folder / "artifacts"
        self.nothing = folder / "nothing"
        self.port = service.server.port
        self.shell = somebodys(folder / "packages")
        files.clone(self.project)
        subprocess.run(["git", "init", "--quiet", self.project], check=True)
        # What the run around this one was told is not for the steps.
        told = ("PYTEST", "PROVEN", "DATABASE_URL", *shell.OURS)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(told)}
        self.environment |= {"MAKEFLAGS": NARROWED, "CI": "true", "GITHUB_ACTIONS": "true"}
        if environment:
            self.bash("make environment", {})
            self.lend_bytecode()

    def lend_bytecode(self) -> None:
        """Give the copy's packages the bytecode of the same packages here."""
        here = Path(sysconfig.get_path("purelib"))
        there = self.project / ".venv" / here.relative_to(sys.prefix)
        if there.stat().st_dev != here.stat().st_dev:
            return  # uv could not link the packages: they are files of another day, which this bytecode does not fit
        for file in here.rglob("*.pyc"):
            copy = there / file.relative_to(here)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.hardlink_to(file)

    def run(self, step: Step) -> None:
        """Run a step, or do what the action does that it uses. Fails with the step's name and what it said."""
        if "run" in step.says:
            given = {**step.job.get("env", {}), **step.says.get("env", {})}
            resolved = {name: self.resolve(step, str(value)) for name, value in given.items()}
            if "services" in step.job:
                resolved["DATABASE_URL"] = resolved["DATABASE_URL"].replace(":5432/", f":{self.port}/")
            if all(line.startswith("make ") for line in step.says["run"].splitlines()):
                resolved = self.shell | resolved  # of which make passes nothing on
            if step.workflow == "matrix.yml":
                resolved |= self.reaching_nothing()
            result = self.bash(self.resolve(step, step.says["run"]), resolved)
            if result.returncode:
                pytest.fail(f"{step}: ended with {result.returncode}\n{result.stdout}", pytrace=False)
        else:
            action = step.says["uses"].partition("@")[0]
            given = step.says.get("with", {})
            if action == "actions/upload-artifact":
                file = self.project / given["path"]
                assert file.is_file(), f"{step}: {given['path']} is not there"
                (self.artifacts / given["name"]).mkdir(parents=True)
                shutil.copy(file, self.artifacts / given["name"])
            elif action == "actions/download-artifact":
                shutil.copytree(self.artifacts / given["name"], self.project / given["path"])
            elif action == "actions/upload-pages-artifact":
                assert (self.project / given["path"] / "index.html").is_file(), f"{step}: holds no site"

    def bash(self, script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a script as GitHub runs it where no shell is named."""
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.project,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def resolve(self, step: Step, text: str) -> str:
        """Put in what GitHub would."""

        def value(expression: re.Match[str]) -> str:
            if expression[1] not in EXPRESSIONS:
                pytest.fail(f"{step}: no value for {expression[0]}: name one in EXPRESSIONS", pytrace=False)
            return EXPRESSIONS[expression[1]]

        return re.sub(r"\$\{\{ *(.+?) *\}\}", value, text)

    def reaching_nothing(self) -> dict[str, str]:
        """Return an environment without caches, in which whatever asks a mirror or a registry is refused at once."""
        self.nothing.mkdir()
        (self.nothing / "uv").symlink_to(self.project / ".venv/bin/uv")
        (self.nothing / "apt.conf").write_text('Acquire::http::Proxy "http://127.0.0.1:9";\nAcquire::Retries "0";\n')
        return {
            "APT_CONFIG": str(self.nothing / "apt.conf"),
            "PATH": f"{self.nothing}:{os.environ['PATH']}",
            "UV_OFFLINE": "1",
            "UV_CACHE_DIR": str(self.nothing / "uv-cache"),
            "XDG_CACHE_HOME": str(self.nothing),
        }
