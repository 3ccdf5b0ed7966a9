"""Every mistake of mistakes.yaml, made in a copy of the files that readers deploy, is refused with its reason."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml

from proven import ROOT
from proven.problems import Problem
from tests.lint import cloud_run, cloud_sql, compose, kubernetes

SNIPPETS = ROOT / "snippets"
COMPOSE = "upstream/compose.yaml"
Texts = dict[str, str]


def check_compose(texts: Texts, folder: Path) -> list[Problem]:
    """Return what is wrong with the Compose project, which Compose reads from a folder."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return compose.problems(folder / COMPOSE, folder)


def below(folder: str, *patterns: str) -> Texts:
    """Return files below a folder of snippets, by their paths from there."""
    root = SNIPPETS / folder
    files = [file for pattern in patterns for file in root.glob(pattern) if file.is_file()]
    return {file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in files}


KUBERNETES = below("kubernetes", "config.yaml", "pgbouncer.yaml", "app.yaml", "secrets.sh")
CLOUD_RUN = below("cloud/run", "*.yaml", "*.sh", "*.ini")
CLOUD_SQL = below("cloud/sql", "pooling.json", "pooling*.sh", "pooling.tf")
PROJECT = below("", "pgbouncer/*", "upstream/**/*")
# The files, and what is wrong with them.
CHECKS: dict[str, tuple[Texts, Callable[[Texts, Path], list[Problem]]]] = {
    "compose": (PROJECT, check_compose),
    "kubernetes": (KUBERNETES, lambda texts, _: kubernetes.problems(texts)),
    "cloud run": (CLOUD_RUN, lambda texts, _: cloud_run.problems(texts)),
    "cloud sql": (CLOUD_SQL, lambda texts, _: cloud_sql.problems(texts)),
}


@cache
def table() -> dict[str, dict[str, Texts]]:
    """Return every mistake: by the files in which it is made, and by what it is."""
    text = Path(__file__).with_name("mistakes.yaml").read_text(encoding="utf-8")
    for name, file in (("postgres", COMPOSE), ("python", "upstream/Dockerfile")):
        (image, *_) = re.findall(rf"{name}:\S+", PROJECT[file])
        text = text.replace(f"{{{name}}}", image)
    return yaml.safe_load(text)


def made(files: str, mistake: Texts) -> Texts:
    """Return these files with a mistake in one of them, in the first place where that has its text."""
    texts, _ = CHECKS[files]
    name, old = mistake["file"], mistake["text"]
    assert old in texts[name], f"{name} has no {old!r} any more: change this mistake"
    return {**texts, name: texts[name].replace(old, mistake["instead"], 1)}


@pytest.mark.parametrize(("files", "what"), [(files, what) for files, mistakes in table().items() for what in mistakes])
def test_a_mistake_is_refused(files: str, what: str, tmp_path: Path) -> None:
    """Whether the platform would refuse it, or take it and never find what it names."""
    mistake = table()[files][what]
    found = [str(problem) for problem in CHECKS[files][1](made(files, mistake), tmp_path)]
    assert any(mistake["says"] in problem for problem in found), found


@pytest.mark.parametrize("files", CHECKS)
def test_the_files_as_they_are_have_no_mistake(files: str, tmp_path: Path) -> None:
    """So that what is refused above is refused for what was changed."""
    texts, check = CHECKS[files]
    assert check(texts, tmp_path) == []


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ("compose", "a host in the ini that no service has"),
        ("kubernetes", "a port's name"),
        ("kubernetes", "a setting"),
        ("cloud run", "a misspelt probe"),
        ("cloud run", "a flag that is none"),
    ],
)
def test_a_mistake_is_named_with_its_line(files: str, what: str, tmp_path: Path) -> None:
    """The line of the field itself, in a file of several documents, and in a command of several lines."""
    mistake = table()[files][what]
    texts = made(files, mistake)
    (problem,) = CHECKS[files][1](texts, tmp_path)
    line = texts[mistake["file"]].splitlines()[problem.line - 1]
    assert (problem.path, line.count(mistake["instead"].strip())) == (mistake["file"], 1)
