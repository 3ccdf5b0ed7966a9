"""Every text that the programs can say has its row in the atlas, or is left out by a rule that is stated."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from atlas import listed, machine, python
from atlas.__main__ import PACKAGES
from atlas.text import Text, plain
from proven import ROOT
from proven.sources import data
from tests.proofs.reference.texts.every import CASES, TEXTS
from tests.stack import pgbouncer, postgres

LIST = json.loads(listed.LIST.read_text(encoding="utf-8"))["texts"]


def test_every_text_has_its_row_or_is_left_out() -> None:
    """By the rules and the rows as they are now; `make texts` writes the list anew."""
    rules, rows = listed.rules(), listed.rows()
    missing = []
    for each in LIST:
        why = {listed.left_out(Text(each["by"], each["text"], how), rules) for how in each["how"]}
        if "out" in each:
            assert each["out"] in why, f"no rule leaves out {each['text']!r} any more: make texts"
        elif each["row"] not in rows or listed.row_of(each["text"], rows) != each["row"]:
            missing.append(f"{each['by']}: {each['text']}")
    assert not missing, f"texts without a row in {listed.ATLAS.name}: {missing}"


def test_each_rule_leaves_something_out() -> None:
    """One that leaves out nothing tells readers of nothing."""
    assert {rule.because for rule in listed.rules()} == {each["out"] for each in LIST if "out" in each}


def test_the_list_is_of_the_packages_that_are_installed() -> None:
    """What a newer release says stands in it once `make texts` has run."""
    for by, package in PACKAGES.items():
        versions = {version for each in LIST if each["by"] == by for version in each["in"]}
        assert versions == {metadata.version(package)}, f"{by} is another release by now: make texts"


@pytest.mark.parametrize("by", PACKAGES)
def test_the_texts_of_a_package_are_listed(by: str) -> None:
    """As its syntax trees have them."""
    known = {each["text"] for each in LIST if each["by"] == by}
    assert {each.text for each in python.texts(by, Path(pytest.__file__).parent.parent)} <= known


def test_the_texts_of_the_servers_are_listed() -> None:
    """Of those that the proofs run on, where they are of the processor whose code is read."""
    known = {(each["by"], each["text"]) for each in LIST}
    found = {*machine.postgres(postgres.bin_dir() / "postgres")}
    try:
        found |= {*machine.pgbouncer(Path(pgbouncer.find()[-1]))}
    except RuntimeError:
        pass
    if found:
        assert {(text.by, text.text) for text in found} <= known


def test_a_program_has_the_text_of_a_row(tmp_path: Path) -> None:
    """However the compiler made the call: the string is there."""
    program = tmp_path / "program"
    program.write_bytes(b"\0\x01query_timeout\0no more %s allowed:\n\t%m\0another text\0")
    rows = ["FATAL: query_timeout", "no more … allowed", "no such user"]
    assert listed.saying(rows, machine.held(program)) == {"query_timeout", "no more … allowed: …"}


def test_what_was_heard_was_provoked() -> None:
    """Of a provocation that is there no more, the page counts nothing."""
    heard = json.loads((ROOT / data.SAID).read_text(encoding="utf-8"))["texts"]
    assert heard.keys() == {case.text for case in CASES} | TEXTS.keys()


def test_what_differs_is_no_part_of_a_text() -> None:
    """In the notation of C, of Python's % and of its braces."""
    assert plain('role "%s" has %zu of %.*s,\n %d%%') == 'role "…" has … of …, …%'
    assert plain("pool %(name)s after {timeout:.2f} sec") == "pool … after … sec"


def test_a_row_is_found_by_a_part_of_a_text() -> None:
    """Whatever quotes it has, and whichever of both leaves something open; the longest says most."""
    rows = ["query timeout", "FATAL: idle transaction timeout", 'role "…" does not exist', "accept() failed: Too many"]
    assert listed.row_of("idle transaction timeout", rows) == "FATAL: idle transaction timeout"
    assert listed.row_of("role `web` does not exist", rows) == 'role "…" does not exist'
    assert listed.row_of("accept() failed: …", rows) == "accept() failed: Too many"
    assert listed.row_of("transaction timeout", rows) is None


def test_the_page_says_each_rule() -> None:
    """A reader sees what is left out."""
    assert "left_out()" in (ROOT / "docs/reference/every-error.md").read_text(encoding="utf-8")
