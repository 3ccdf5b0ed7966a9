"""Proves docs/how-to/audit-your-code.md: planted cases are found, hostile files are survived, a build is stopped."""

import ast
import json
import os
import re
import subprocess
import sys
from errno import EACCES
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from tests.proofs.planted import planted
from tests.stack.scripts import execute
from tests.stack.wait import DEADLINE

AUDIT = "audit/audit.py"
LISTENS = 'cursor.execute("LISTEN orders")'
OLDEST_PYTHON = (3, 10)


@pytest.fixture
def names(load, tmp_path, monkeypatch):
    """Return the audit's namespace, to be run in a folder of this proof's own."""
    monkeypatch.chdir(tmp_path)
    return execute(load(AUDIT))


@pytest.fixture
def audit(names, monkeypatch, capsys):
    """Return a function that runs the audit as a shell does, and returns its stdout, its stderr and its status."""

    def run(*arguments: str) -> tuple[str, str, Any]:
        monkeypatch.setattr("sys.argv", ["audit.py", *arguments])
        try:
            status = names["main"]()
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        return said.out, said.err, status

    return run


@control(edit("audit/audit.py", r"listen\s+", r"unlisten\s+"))
@control(edit("audit/audit.py", "kind is ast.AsyncFunctionDef", "False"))
@control(edit("audit/audit.py", "atomic=opens", "atomic=False"))
@control(edit("audit/audit.py", "and not generates(node)", ""))
@control(edit("audit/audit.py", 'if "asgi" in facts', 'if "asgi"'))
@control(edit("audit/audit.py", 'CURSORS" and said is not False', 'CURSORS" and said is not None'))
@control(edit("audit/audit.py", "silent.add(number if", "silent.add(0 if"))
@control(edit("audit/audit.py", "if comment and comment[2]:", "if comment:"))
@control(edit("audit/audit.py", '"iterator", "aiterator"', '"iterator"'))
def test_the_audit_finds_every_planted_case_and_no_near_miss(names, tmp_path) -> None:
    """Each rule finds the cases planted for it, and nothing in the similar code among them that is harmless."""
    met = set()
    for folder, expected in planted(tmp_path).items():
        assert {(each.line, each.rule) for each in names["audit"]([folder])} == expected, folder.name
        met |= {rule for _, rule in expected}
    assert met == set(names["RULES"])


@control(edit("audit/audit.py", '"migrations" in file.with_suffix("").parts', "False"))
def test_a_migration_is_a_transaction_unless_it_says_otherwise(names, tmp_path) -> None:
    """iterator() is reported in a migration only with atomic = False, and a query at a migration's import never."""
    loop = "def fill(apps, editor):\n    apps.get_model('a', 'B').objects.iterator()\nB.objects.count()\n"
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/a.py").write_text(loop)
    (tmp_path / "migrations.py").write_text(loop)
    (tmp_path / "migrations/b.py").write_text(f"{loop}class Migration:\n    atomic = False\n")
    found = [(Path(each.file).name, each.rule) for each in names["audit"]([tmp_path])]
    assert found == [("b.py", "cursor")]


@control(edit("audit/audit.py", "return 1 if found else 0", "return 0"))
@control(edit("audit/audit.py", 'parser.error(f"{name}: {error', 'print(f"{name}: {error'))
def test_the_exit_status_of_an_audit_stops_a_build(audit, tmp_path) -> None:
    """It is 0 if nothing is found, 1 if something is, and 2 for a path, baseline or option that cannot be used."""
    code = tmp_path / "code.py"
    code.write_text("x = 1\n")
    assert audit(".") == ("findings: 0\n", "", 0)
    code.write_text(f"{LISTENS}\n")
    output, _, status = audit(".")
    assert status == 1
    assert output.startswith(f"code.py:1: listen\n    {LISTENS}\n")
    known = tmp_path / "known.json"
    for content in ("{}", '{"findings": []}', '[["code.py", "listen"]]', "[" * 100_000):
        known.write_text(content)
        output, said, status = audit("--baseline", "known.json", ".")
        assert (output, status) == ("", 2), content
        assert said.splitlines()[-1].startswith("audit.py: error: known.json is not a baseline: ")
    (tmp_path / "notes.txt").write_text(LISTENS)
    baselines = (["--baseline", "code.py", "."], ["--write-baseline", "."])
    for wrong in (["nowhere"], ["a" * 300], ["notes.txt"], *baselines, ["--what", "."], []):
        output, said, status = audit(*wrong)
        assert (output, status) == ("", 2)
        assert said.splitlines()[-1].startswith("audit.py: error: ")


@control(
    edit(
        "audit/audit.py",
        "return finding.file, finding.rule, finding.text",
        "return finding.file, finding.rule, finding.line",
    )
)
@control(edit("audit/audit.py", "listed[known(each)] -= 1", "pass"))
def test_a_baseline_lists_what_is_known(audit, tmp_path) -> None:
    """With a baseline, moved lines are not reported; a new finding, or one more of the same, is."""
    code = tmp_path / "code.py"
    code.write_text(f"{LISTENS}\n")
    baseline = ("--baseline", "known.json")
    assert audit(*baseline, "--write-baseline", ".")[2] == 0
    code.write_text(f"\n\n{LISTENS}\n")
    assert audit(*baseline, ".")[2] == 0
    code.write_text(f"\n\n{LISTENS}\n{LISTENS}\n")
    assert audit(*baseline, ".")[0].startswith(f"code.py:4: listen\n    {LISTENS}\n")
    code.write_text(f'{LISTENS}\ncursor.execute("SET ROLE app")\n')
    output, _, status = audit(*baseline, ".")
    assert status == 1
    assert output.startswith("code.py:2: session-setting\n")


@control(edit("audit/audit.py", '"ruleId": each.rule', '"ruleId": each.text'))
@control(edit("audit/audit.py", "GUIDE + rule.page", "rule.page"))
@control(edit("audit/audit.py", "one._asdict() | RULES", "RULES"))
def test_programs_read_the_findings_as_json_and_as_sarif(names, audit, tmp_path) -> None:
    """JSON has each finding's line and whole rule; SARIF 2.1.0 names rules, levels, files and lines as required."""
    (tmp_path / "a b.py").write_text(f"\n{LISTENS}\n")
    (found,) = json.loads(audit("--json", ".")[0])["findings"]
    rule = names["RULES"]["listen"]
    assert found == {"file": "a b.py", "line": 2, "rule": "listen", "text": LISTENS, **rule._asdict()}
    sarif = json.loads(audit("--sarif", ".")[0])
    (run,) = sarif["runs"]
    driver, (result,) = run["tool"]["driver"], run["results"]
    assert (sarif["version"], driver["name"]) == ("2.1.0", "audit.py")
    assert [each["id"] for each in driver["rules"]] == list(names["RULES"])
    assert all(each["helpUri"].startswith("https://") and each["shortDescription"]["text"] for each in driver["rules"])
    assert {each["defaultConfiguration"]["level"] for each in driver["rules"]} == {"error", "warning", "note"}
    assert (result["ruleId"], result["level"]) == ("listen", "error")
    assert result["message"]["text"]
    (place,) = [each["physicalLocation"] for each in result["locations"]]
    assert place == {"artifactLocation": {"uri": "a%20b.py"}, "region": {"startLine": 2}}


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Create a tree of files that no program expects; return those that cannot be read."""
    outside = tmp_path / "outside.py"
    outside.write_text(f"{LISTENS}\n")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "runs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n")
    unread = {
        "syntax.py": b"def (\n",
        "binary.py": b"\x00\x01\xff",
        "other.py": b"# coding: no-such\nx = 1\n",
        "bytes.py": b"x = '\xe9'\n",
        "nested.py": b"x = " + b"(" * 5000 + b")" * 5000,
        "deep.py": b"x = " + b"-" * 3000 + b"1\n",
        "chain.py": b"x = a" + b".b" * 20_000,
        "huge.py": b"x = 1\n" * 400_000,
        "huge.sql": b"-- $$\n" * 400_000,
        "bytes.sql": b"select '\xe9'\n",
        "bytes.ini": b"[pgbouncer]\n; \xe9\n",
    }
    for name, content in unread.items():
        (tree / name).write_bytes(content)
    (tree / "latin.py").write_bytes(f"# coding: latin-1\n# \xe9\n{LISTENS}\n".encode("latin-1"))
    # What begins and never ends: to search all that follows for each end would take minutes.
    (tree / "endless.sql").write_text("".join(f"$t{number}$ /* " for number in range(50_000)) + ";\nlisten a;\n")
    (tree / "ours.sql").write_text("-- PostgreSQL database of the shop\nlisten a;\n")
    for name, of in {"dump.sql": "", "all.sql": "cluster "}.items():
        (tree / name).write_text(f"--\n-- PostgreSQL database {of}dump\n--\n\nlisten a;\n")
    (tree / "closed").mkdir()
    (tree / "link.py").symlink_to(outside)
    (tree / "folder").symlink_to(tmp_path)
    (tree / "nowhere.py").symlink_to("gone.py")
    (tree / "circle.py").symlink_to("circle.py")
    os.mkfifo(tree / "pipe.py")
    lists = os.scandir

    def refuses(path):
        """List a folder as for a user who may not read one of them; root may read each."""
        if Path(path).name == "closed":
            raise PermissionError(EACCES, os.strerror(EACCES), str(path))
        return lists(path)

    monkeypatch.setattr(os, "scandir", refuses)
    return {*unread, "link.py", "folder", "nowhere.py", "circle.py", "pipe.py", "closed"}


@control(edit("audit/audit.py", "except (RecursionError, ", "except ("), fails_with="RecursionError")
@control(edit("audit/audit.py", 'raise ValueError(f"a link that leads out', 'print(f"a link that leads out'))
@control(edit("audit/audit.py", "> LARGEST", "> LARGEST * LARGEST"))
@control(edit("audit/audit.py", "(?:cluster )?dump$", ""))
@control(edit("audit/audit.py", "(Path(error.filename) for error in refused)", "()"))
@control(edit("audit/audit.py", '"nested too deeply"', '""'))
@control(edit("audit/audit.py", "import argparse\n", "import argparse\nimport django\n"))
def test_what_cannot_be_read_is_one_line_each(audit, hostile, load, tmp_path) -> None:
    """What cannot be read is named with the reason, and nothing runs: broken, deep and large files, pipes, a folder
    that may not be listed, and links that lead out, nowhere or in a circle. Of .sql files only dumps are passed over.

    The audit itself imports only the standard library, and Python 3.10 can parse it.
    """
    for node in ast.walk(ast.parse(load(AUDIT).text, feature_version=OLDEST_PYTHON)):
        modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {each.partition(".")[0] for each in modules} <= sys.stdlib_module_names
    output, _, status = audit("tree")
    lines = output.splitlines()
    found = {line.split(":")[0]: why for line, why in pairwise(lines) if line.endswith(": not-read")}
    assert sum(line.endswith(": not-read") for line in lines) == len(hostile)
    assert found.keys() == {f"tree/{name}" for name in hostile}
    assert all(why.strip() for why in found.values())
    assert "tree/latin.py:3: listen\n" in output
    assert "tree/endless.sql:2: listen\n" in output
    assert "tree/ours.sql:2: listen\n" in output
    assert not re.search("^tree/(dump|all)", output, re.MULTILINE)
    assert f"(read with Python {sys.version_info[0]}.{sys.version_info[1]})\n" in output
    assert status == 1
    assert not (tmp_path / "ran").exists()


@control(edit("audit/audit.py", "    del sys.path[0]\n", "    pass\n"))
def test_nothing_that_lies_beside_it_is_imported(load, tmp_path) -> None:
    """Copied beside modules named like Python's own, it reads each and runs none, unless PYTHONPATH leads to them."""
    snippet = load(AUDIT)
    evidence.ran(snippet)
    (tmp_path / "audit.py").write_text(snippet.text)
    for name in ("argparse", "ast", "json", "queue", "re"):
        (tmp_path / f"{name}.py").write_text(f"open('ran', 'w')\n{LISTENS}\n")
    command = [sys.executable, "audit.py", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.stdout.count(": listen\n"), done.stderr, done.returncode) == (5, "", 1)
    assert not (tmp_path / "ran").exists()
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True, timeout=DEADLINE, check=False)
    assert (tmp_path / "ran").exists()


@control(edit("audit/audit.py", "line.isprintable()", "True"))
@control(edit("audit/audit.py", "str(path).isprintable()", "True"))
def test_no_name_and_no_line_says_anything_to_a_terminal(audit, tmp_path) -> None:
    """Characters that move the cursor or colour the text are escaped, in every format, and in errors about a path."""
    for moves in ("\x1b[31m", "\x9b31m", "\r#31m", "\n#31m", "\x0831m", "\x7f31m", "\u202e31m"):
        (tmp_path / f"{moves}.py").write_text(f'cursor.execute("LISTEN a") # {moves}\n', encoding="utf-8")
    for form in ([], ["--json"], ["--sarif"]):
        output, _, _ = audit(*form, ".")
        assert output.replace("\n", "").isprintable()
        assert output.count("31m.py") == 7
    (tmp_path / "\x1b[31m.txt").touch()
    for wrong in ("\x1b[31m.txt", "\x1b[32m.py"):  # of no kind that it reads, and missing
        _, said, _ = audit(wrong)
        assert said.replace("\n", "").isprintable()
        assert said.count(ascii(wrong)) == 1


# What the audit does not know, and a form of the same that it does.
WITHIN = "from django.db import connection\ndef run(cursor, tenant):\n    "
MISSED = [
    ('cursor.execute("select 1 into temp chosen")', 'cursor.execute("create temp table chosen as select 1")'),
    ('cursor.callproc("pg_advisory_lock", [1])', 'cursor.execute("select pg_advisory_lock(%s)", [1])'),
    (
        "cursor.execute(\"select set_config('app.tenant', %s, %s)\", [tenant, False])",
        "cursor.execute(\"select set_config('app.tenant', %s, false)\", [tenant])",
    ),
    ('cursor.execute(b"set lock_timeout = 1")', 'cursor.execute("set lock_timeout = 1")'),
    ("connection.chunked_cursor()", 'connection.cursor(name="c", withhold=True)'),
]


@control(here('f"{WITHIN}{missed}', 'f"{WITHIN}{known}'))
@control(here('f"{WITHIN}{known}', 'f"{WITHIN}{missed}'))
@pytest.mark.parametrize(("missed", "known"), MISSED)
def test_some_forms_are_missed(audit, tmp_path, missed, known) -> None:
    """SELECT INTO TEMP, callproc, a parameter for false, bytes and chunked_cursor: their usual forms are found."""
    (tmp_path / "code.py").write_text(f"{WITHIN}{missed}\n")
    assert audit(".")[0] == "findings: 0\n"
    (tmp_path / "code.py").write_text(f"{WITHIN}{known}\n")
    assert audit(".")[0].endswith("\nfindings: 1\n")


@control(edit("audit/audit.py", "except BrokenPipeError:", "except ZeroDivisionError:"))
def test_whoever_reads_may_stop_where_it_is_enough(load, tmp_path) -> None:
    """With more findings than a pipe holds, and a reader that takes one line, the audit reports no error."""
    snippet = load(AUDIT)
    evidence.ran(snippet)
    (tmp_path / "audit.py").write_text(snippet.text)
    (tmp_path / "code.py").write_text(f"{LISTENS}\n" * 3000)
    command = f"{sys.executable} audit.py --json code.py | head -n 1"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.stdout, done.stderr) == ("{\n", "")


@control(edit("audit/audit.py", "if not TEST.fullmatch(name)", "if name"))
def test_what_runs_without_a_pooler_is_passed_over(audit, tmp_path) -> None:
    """Tests, installed packages and hidden folders are passed over."""
    for name in ("tests/a.py", ".venv/a.py", "venv/a.py", "lib/site-packages/a.py", "test_a.py", "shop/conftest.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{LISTENS}\n")
    (tmp_path / ".linked").symlink_to("/")
    assert audit(".")[0] == "findings: 0\n"


@control(edit("audit/audit.py", "SET LOCAL inside atomic(), or ALTER ROLE … SET", "SET LOCAL"))
def test_the_audit_finds_what_the_example_project_does_past_pgbouncer(audit, load, tmp_path, transcript) -> None:
    """It finds session settings, a lock and LISTEN, all past PgBouncer, and a stream that keeps its connection."""
    snippets.export(tmp_path, below="upstream")
    output, _, _ = audit(".")
    assert {line.partition(":")[0] for line in output.splitlines() if re.match(r"\w+/", line)} == {
        "orders/asynchronous.py",
        "orders/locks.py",
        "orders/management/commands/follow_orders.py",
        "orders/management/commands/pool_doctor.py",
        "orders/management/commands/pool_doctor.sql",
    }
    transcript(load(AUDIT), output)
