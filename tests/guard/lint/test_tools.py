"""Every tool of tests/lint, on a file that it must refuse, with the settings that it has here."""

import shutil
from pathlib import Path

import pytest

from proven import ROOT
from tests.guard.project import make
from tests.lint import files, test_django, test_env, test_sql, test_tools
from tests.lint.findings import parse, refuse

WORKFLOW = """\
on: push
permissions: {}
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v7
      - run: echo ${{ github.head_ref }}
"""
# How the tool's row begins: a file's name, its text, the line that is named, and a word of the message.
REFUSED = {
    "ruff check --output": ("a.py", '"""Doc."""\n\nimport os\n', 3, "F401"),
    "ruff format --check --output": ("a.py", '"""Doc."""\n\na = [1,2]\n', 3, "unformatted"),
    "ruff check --line-length=80": ("a.py", f'"""Doc."""\n\na = "{"x" * 80}"\n', 3, "E501"),
    "ruff format --check --line-length=80": ("a.py", f'"""Doc."""\n\na = [{"1, " * 25}1]\n', 3, "unformatted"),
    "pyrefly": ("a.py", '"""Doc."""\n\nnumber: int = "one"\n', 3, "bad-assignment"),
    "sqlfluff": ("a.sql", "-- region: one\nselect 1;\nselect 1,2;\n-- endregion: one\n", 3, "LT01"),
    "shellcheck": ("a.sh", "#!/bin/sh\n# region: one\necho $1\n", 3, "SC2086"),
    "rumdl": ("docs/a.md", "# Title\n\n{{ proofs() }}\n\n[dead](nowhere.md)\n", 5, "'nowhere.md' does not exist"),
    "tombi": ("a.toml", "a = 1\n\na = 2\n", 3, "duplicate key"),
    "yamllint": ("a.yml", "a: 1\na: 2\n", 2, 'duplication of key "a"'),
    "actionlint": (".github/workflows/a.yml", WORKFLOW, 8, "potentially untrusted"),
    "zizmor": (".github/workflows/a.yml", WORKFLOW, 7, "unpinned action reference"),
    "check-jsonschema --builtin-schema=vendor.compose-spec": (
        "compose.yaml",
        "services:\n  web:\n    helthcheck: {}\n",
        1,
        "'helthcheck'",
    ),
    "hadolint": ("Dockerfile", "FROM debian:13.2-slim\n\nRUN cd /srv\n", 3, "DL3003"),
    "check-jsonschema --builtin-schema=vendor.dependabot": (
        ".github/dependabot.yml",
        "version: 2\nupdates: none\n",
        1,
        "'none' is not of type 'array'",
    ),
    "check-jsonschema --builtin-schema=vendor.github-actions": (
        "action.yml",
        "name: One\ndescription: two\nruns: three\n",
        1,
        "'three' is not",
    ),
    "typos": ("a.md", "# Title\n\nTo recieve is to be told.\n", 3, "`recieve` should be `receive`"),
}
DEAD_ANCHORS = "# Title\n\n[there](b.md#there) and [nowhere](b.md#nowhere)\n\n[nor here](#nowhere)\n"


@pytest.mark.parametrize("command", test_tools.TOOLS)
def test_each_tool_refuses_and_names_the_line(command: str, tmp_path: Path) -> None:
    """So that none of them passes because it was given the wrong options, or was not understood."""
    (begins,) = [begins for begins in REFUSED if command.startswith(begins)]
    name, text, line, word = REFUSED[begins]
    write(tmp_path, {name: text})
    result = test_tools.run(command, [name], tmp_path)
    assert result.returncode
    found = parse(result.stdout + result.stderr, tmp_path)
    assert [problem for problem in found if (problem.path, problem.line) == (name, line) and word in problem.message]


def test_dead_anchors_are_refused(tmp_path: Path) -> None:
    """On another page and on the same one."""
    (command,) = [command for command in test_tools.TOOLS if command.startswith("rumdl")]
    write(tmp_path, {"docs/a.md": DEAD_ANCHORS, "docs/b.md": "# Other\n\n## Here { #there }\n"})
    result = test_tools.run(command, ["docs/a.md", "docs/b.md"], tmp_path)
    assert sorted((problem.path, problem.line) for problem in parse(result.stdout)) == [
        ("docs/a.md", 3),
        ("docs/a.md", 5),
    ]


def test_a_tool_that_is_not_installed_fails() -> None:
    """It is never skipped."""
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is not installed: make test installs it"):
        test_tools.run("no-such-tool --check", [])


def test_a_check_of_no_files_fails() -> None:
    """A pattern that matches nothing any more checks nothing any more."""
    with pytest.raises(pytest.fail.Exception, match=r"nothing was checked: no file matches \*\.cobol"):
        files.matching("*.cobol")


def test_a_finding_is_an_annotation_in_github_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the line itself, as everything else that is refused."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(pytest.fail.Exception, match=r"^a\.py:3: F401 unused\n::error file=a\.py,line=3::F401 unused$"):
        refuse(parse("a.py:3:1: F401 unused\nFound 1 error.\n"))


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("select 1;\nselect from from x;\n", 2),
        ("\\set n 10\nselect :n;\nselect :'text'::interval frm x;\n", 3),
        ("-- ünïcödé, once and again\nselect 'é';\n\n\nselec 1;\n", 5),
        ("select 1 as one \\gset\nselect 2 \\watch 5\nselect (3;\n", 3),
    ],
)
def test_sql_that_postgresql_cannot_parse_is_refused(script: str, line: int) -> None:
    """At its own line, whatever psql's commands take out before it."""
    (problem,) = test_sql.problems("a.sql", script)
    assert (problem.path, problem.line) == ("a.sql", line)


@pytest.mark.parametrize(
    "script",
    [
        "-- region: one\n\\set limit 10\nselect * from x limit :limit;\n-- endregion: one\n",
        "select 1 as one \\gset\n\\echo it's :one\nselect :one::int, 12::text, a[1:2];\n",
        "alter role :\"role\" set statement_timeout = :'timeout';\n",
        "do $$ begin raise notice ':x \\ %', 1; end $$;\n",
        "declare c cursor with hold for select ':x', '\\d';\n",
        "select pg_sleep(1) \\watch interval=5\n",
    ],
)
def test_what_psql_adds_to_sql_is_accepted(script: str) -> None:
    """Its commands and variables, and what only looks like them."""
    assert test_sql.problems("a.sql", script) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nB = 2\n", "not a variable: write NAME=value, and comments on lines of their own"),
        ("A=1\nexport B=2\n", "not a variable: write NAME=value, and comments on lines of their own"),
        ("A=1\nA=2\n", "A has a value on line 1 already"),
        ("A=1\nB=2 # seconds\n", "quotes, outer spaces and comments become part of the value"),
        ('A=1\nB="2"\n', "quotes, outer spaces and comments become part of the value"),
        ("A=1\nB=2 \n", "quotes, outer spaces and comments become part of the value"),
    ],
)
def test_an_environment_file_that_readers_disagree_on_is_refused(text: str, message: str) -> None:
    """What is a value to one of them is a comment to another."""
    assert [str(problem) for problem in test_env.problems("a.env", text)] == [f"a.env:2: {message}"]


def test_settings_that_django_does_not_know_are_refused(tmp_path: Path) -> None:
    """In a database and beside it. A name that the project itself reads is its own affair."""
    settings = """\
# region: own
LIMIT = 60
# endregion: own
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGES": LIMIT}}
CONN_HEALTH_CHECKS = True
"""
    folder = tmp_path / "project"
    folder.mkdir()
    changes = {"snippets/upstream/settings/prod.py": settings, "snippets/upstream/.env.example": "A=1\n"}
    found = {str(problem).partition(";")[0] for problem in test_django.problems(make(tmp_path, changes), folder)}
    assert found == {
        "snippets/upstream/settings/prod.py:4: Django reads no setting called CONN_MAX_AGES",
        "snippets/upstream/settings/prod.py:5: Django reads no setting called CONN_HEALTH_CHECKS",
    }


def test_settings_that_do_not_load_are_refused(tmp_path: Path) -> None:
    """.env.example names every variable that a setting cannot do without."""
    folder = tmp_path / "project"
    folder.mkdir()
    settings = 'import os\n\nSECRET_KEY = os.environ["DJANGO_SECRET_KEY"]\n'
    changes = {"snippets/upstream/settings/prod.py": settings, "snippets/upstream/.env.example": "A=1\n"}
    assert [str(problem) for problem in test_django.problems(make(tmp_path, changes), folder)] == [
        "snippets/upstream/settings/prod.py:1: does not load with .env.example: KeyError: 'DJANGO_SECRET_KEY'"
    ]


def write(root: Path, texts: dict[str, str]) -> None:
    """Write files beside the settings that the tools have in this project."""
    for settings in ("pyproject.toml", ".yamllint.yaml"):
        shutil.copy(ROOT / settings, root)
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
