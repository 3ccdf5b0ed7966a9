"""How far a snippet was proven: what a proof may say, what is published, and what readers are told."""

import json
import types
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from proven import ROOT, check, evidence, guide
from proven.evidence import ledger, running, summary
from proven.evidence.ledger import Run
from proven.macros import catalogue
from proven.macros.markup import PROOFS_PAGE
from proven.sources.snippets import Snippet
from tests.guard.project import Macros, make

SCHEMA = "checked: Compose Specification, 1.27.1"
TEXT = "read: https://vendor.example/a-page, 2026-11-22"
STACK = {"PostgreSQL": "18.6"}
# A level and what was compared with, and what is wrong with them.
WRONG = {
    ("tested", ""): "'tested' is not a level of proof: ran, started, checked, read",
    ("checked", ""): 'what was checked says against="NAME, REVISION", not against=""',
    ("checked", "a schema"): 'what was checked says against="NAME, REVISION", not against="a schema"',
    ("read", ""): 'what was read says against="SOURCE, YYYY-MM-DD", not against=""',
    ("read", "a page, last week"): 'says against="SOURCE, YYYY-MM-DD", not against="a page, last week"',
    ("ran", "a schema, 1"): 'what ran was compared with nothing: leave against="a schema, 1" out',
    ("started", "a schema, 1"): 'what started was compared with nothing: leave against="a schema, 1" out',
}


@pytest.fixture
def snippet() -> Snippet:
    """One for which a proof says how far it goes."""
    return Snippet("answer.py", "answer = 42\n", {}, (1,))


def test_each_level_is_noted_with_what_it_was_compared_with(snippet: Snippet) -> None:
    """One proof may say several things of one snippet."""
    evidence.ran(snippet, "started")
    evidence.ran(snippet, "checked", against="Compose Specification, 1.27.1")
    evidence.ran(snippet, "read", against="https://vendor.example/a-page, 2026-11-22")
    assert running.current.words == {"answer.py": {"started", SCHEMA, TEXT}}
    assert running.current.entries() == {"answer.py": [snippet.digest, SCHEMA, TEXT, "started"]}


@pytest.mark.parametrize(("level", "against"), WRONG)
def test_a_level_that_does_not_say_what_it_must_is_refused(level: str, against: str, snippet: Snippet) -> None:
    """At once, in the proof that says so."""
    with pytest.raises(ValueError, match=r"answer\.py: ") as error:
        evidence.ran(snippet, level, against=against)
    assert WRONG[level, against] in str(error.value)
    assert running.current.words == {}


@pytest.mark.parametrize("words", [["ran"], ["started", SCHEMA], [SCHEMA], [TEXT]])
def test_a_snippet_with_a_level_is_published(words: list[str], tmp_path: Path) -> None:
    """Any of the four will do, of an older ledger too: its entries are a digest and one word."""
    assert unproven(tmp_path, words) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "it says no level of proof"),
        ([""], "'' is not a level of proof: ran, started, checked, read"),
        (["tested"], "'tested' is not a level of proof: ran, started, checked, read"),
        (["checked"], 'what was checked says against="NAME, REVISION", not against=""'),
        (["ran", "read: a page"], 'what was read says against="SOURCE, YYYY-MM-DD", not against="a page"'),
    ],
)
def test_a_snippet_without_a_level_is_not_published(words: list[str], says: str, tmp_path: Path) -> None:
    """Whatever wrote the ledger: the page that shows it is named, and its line."""
    why = f"how far test_answer proves snippets/answer.py is not said: {says}: make prove ONLY=test_answer"
    assert unproven(tmp_path, words) == [f"docs/index.md:5: {why}"]


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([(["ran"], STACK)], ["ran on PostgreSQL 18"]),
        ([(["ran"], {})], ["ran"]),
        ([(["started"], {"PgBouncer": "1.26.1"})], ["started with these settings on PgBouncer 1.26"]),
        ([([SCHEMA], STACK)], ["checked against Compose Specification, 1.27.1"]),
        ([([TEXT], {})], ["read in https://vendor.example/a-page, 2026-11-22"]),
        ([(["ran"], STACK), (["started"], STACK)], ["ran on PostgreSQL 18"]),
        (
            [(["started"], {"PostgreSQL": "17.2"}), ([SCHEMA], {}), (["ran"], STACK), ([SCHEMA], STACK)],
            [
                "ran on PostgreSQL 18",
                "started with these settings on PostgreSQL 17",
                "checked against Compose Specification, 1.27.1",
            ],
        ),
        ([(["checked"], {})], ["checked against"]),
    ],
)
def test_the_strongest_is_told_first_and_others_if_they_say_more(
    runs: list[tuple[list[str], dict[str, str]]], told: list[str]
) -> None:
    """That it started says nothing more where it ran on the same."""
    assert summary.how_far([run(words, stack) for words, stack in runs], "answer.py") == told


def test_a_claim_says_what_its_proof_did() -> None:
    """That it ran something, on what; or what it compared, of one that ran nothing."""
    assert summary.of_proof([run(["ran", SCHEMA], STACK)]) == "ran on PostgreSQL 18"
    assert summary.of_proof([run([SCHEMA], STACK)]) == "checked against Compose Specification, 1.27.1"
    assert summary.of_proof([Run("test_answer", "", {}, "passed", "2030-01-01", 0.1, STACK, {})]) == summary.of_proof(
        [run(["ran"], STACK)]
    )


def test_page_and_catalogue_and_manifest_say_the_same(tmp_path: Path) -> None:
    """The page with a link to what was read; the manifest as its schema describes it."""
    of = recorded(tmp_path, [TEXT])
    page = types.SimpleNamespace(page=types.SimpleNamespace(file=types.SimpleNamespace(src_uri="index.md")))
    macros = Macros(page, of)
    line = macros.snippet("answer.py")
    assert 'data-level="read"' in line
    assert ">Read in [vendor.example/a-page](https://vendor.example/a-page), 2026-11-22<" in line
    assert '"Read in https://vendor.example/a-page, 2026-11-22 · 2030-01-01"' in macros.proven("test_answer")
    assert "Read in https://vendor.example/a-page, 2026-11-22 · 2030-01-01" in macros.catalogue()
    page.page.file.src_uri = PROOFS_PAGE
    listed = tmp_path / "docs" / PROOFS_PAGE
    listed.parent.mkdir()
    listed.write_text("# Proofs\n\n{{ proofs() }}\n", encoding="utf-8")
    assert "<small>PostgreSQL 18.6 · read in [vendor.example/a-page](https://v" in macros.proofs()
    manifest = catalogue.manifest(of)
    entry = manifest["snippets"][0]
    assert entry["level"] == "read"
    assert entry["against"] == [{"level": "read", "name": "https://vendor.example/a-page, 2026-11-22"}]
    schema = Draft202012Validator(json.loads((ROOT / "docs" / catalogue.SCHEMA).read_text(encoding="utf-8")))
    schema.validate(manifest)
    for wrong in ({"level": "ran", "name": "a schema, 1"}, {"level": "checked", "name": "a schema"}, {"level": "read"}):
        entry["against"] = [wrong]
        assert not schema.is_valid(manifest)


def run(words: list[str], stack: dict[str, str], digest: str = "") -> Run:
    """Return a passed run of the one proof there is."""
    return Run("test_answer", "", {}, "passed", "2030-01-01", 0.1, stack, {"answer.py": [digest, *words]})


def recorded(root: Path, words: list[str]) -> guide.Guide:
    """Make the project, with a ledger that says this of its snippet."""
    of = guide.read(make(root))
    passed = replace(run(words, STACK, of.snippets["answer.py"].digest), parts=of.proofs["test_answer"].parts)
    ledger.write(root / ledger.COMMITTED, [passed], of.proofs)
    return guide.read(root)


def unproven(root: Path, words: list[str]) -> list[str]:
    """Return what would not be published of the project, with a ledger that says this of its snippet."""
    return [str(problem) for problem in check.unproven(recorded(root, words))]
