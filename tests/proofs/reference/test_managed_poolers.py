"""Proves docs/reference/managed-poolers.md, and what poolers.md has from documentation: each cell's source and day."""

import json
import re
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proven import ROOT, guide
from proven.macros.lists import FACTS
from proven.sources.controls import control, here
from tests.guard.project import Macros

FILE = ROOT / FACTS / "managed-poolers.json"
SCHEMA = FILE.with_name("managed-poolers.schema.json")
# The vendors whose own words count, and how the URLs of their pages begin.
VENDORS = {
    "Cloud SQL": ("cloud.google.com/sql/",),
    "AlloyDB": ("cloud.google.com/alloydb/",),
    "Amazon": ("docs.aws.amazon.com/", "aws.amazon.com/", "github.com/aws/"),
    "Azure": ("learn.microsoft.com/", "techcommunity.microsoft.com/"),
    "Neon": ("neon.com/",),
    "Supabase": ("supabase.com/",),
    "Heroku": ("devcenter.heroku.com/",),
    "DigitalOcean": ("docs.digitalocean.com/",),
    "Fly.io": ("fly.io/docs/",),
    "Railway": ("docs.railway.com/",),
    "PgCat": ("github.com/postgresml/pgcat/",),
    "PgDog": ("docs.pgdog.dev/",),
    "Supavisor": ("supabase.github.io/supavisor/", "github.com/supabase/supavisor/"),
}


@control(here("date.today().isoformat()", '"2026-01-01"', of="tests.proofs.reference.test_managed_poolers:wrong"))
@pytest.mark.parametrize("file", [FILE, FILE.with_name("other-poolers.json")], ids=lambda file: file.stem)
def test_every_cell_has_a_source_and_a_day(file: Path) -> None:
    """Each has the vendor's own page, a past day, and a day to read it again, even if nothing was confirmed."""
    facts = json.loads(file.read_text(encoding="utf-8"))
    assert wrong(facts) == []


@control(here("date.today().isoformat()", '"3999-01-01"', of="tests.proofs.reference.test_managed_poolers:wrong"))
@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("source", "", "'' does not match"),
        ("source", "https://example.org/a-blog", "https://example.org/a-blog is not the vendor's"),
        ("date", "last week", "'last week' does not match"),
        ("date", "2999-01-01", "2999-01-01 has not been yet"),
        ("again", "2026-11-22", "2026-11-22 is not after 2026-11-28"),
        ("gist", "", "'' is too short"),
        ("says", "", "'' should be non-empty"),
        ("unheard", "of", "Additional properties are not allowed"),
    ],
)
def test_a_cell_that_says_too_little_is_refused(field: str, value: str, says: str) -> None:
    """Each part that is empty, wrong or unknown is named, and so is a missing cell."""
    facts = json.loads(FILE.read_text(encoding="utf-8"))
    facts["rows"][0]["cells"]["mode"][field] = value
    assert any(says in line for line in wrong(facts)), wrong(facts)
    facts = json.loads(FILE.read_text(encoding="utf-8"))
    del facts["rows"][0]["cells"]["mode"]
    assert wrong(facts) == ["Cloud SQL, Managed Connection Pooling: has no cell for mode"]


@control(here("facts(FILE.name)", 'facts(FILE.name).replace("https", "http")'))
def test_every_source_is_a_link_of_the_table() -> None:
    """The check of the site's links covers every source, and each answer has its source, with the day, beside it."""
    page: Any = SimpleNamespace(page=SimpleNamespace(path="reference/managed-poolers.md"))
    shown = Macros(page, guide.remembered()).facts(FILE.name)
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    for row in rows:
        (line,) = (line for line in shown.splitlines() if line.startswith(f"| **{row['name']}**"))
        for cell in row["cells"].values():
            assert f"]({cell['source']} " in line
            assert (cell["says"] or "*not confirmed*") in line
            assert f"<time>{cell['date']}</time>" in line
        assert line.count("<time>") == len(row["cells"])


@control(here("due(FILE.name)", 'due(FILE.name).replace(" | ", " ! ")'))
def test_every_cell_is_listed_under_the_day_by_which_it_is_read_again() -> None:
    """The list has each cell once, in the order of the days."""
    page: Any = SimpleNamespace(page=SimpleNamespace(path="reference/managed-poolers.md"))
    shown = Macros(page, guide.remembered()).due(FILE.name)
    facts = json.loads(FILE.read_text(encoding="utf-8"))
    days = [line.split(" | ")[0].removeprefix("| ") for line in shown.splitlines() if line.startswith("| 2")]
    assert days == sorted({cell["again"] for row in facts["rows"] for cell in row["cells"].values()})
    for row in facts["rows"]:
        for key, cell in row["cells"].items():
            (line,) = (line for line in shown.splitlines() if line.startswith(f"| {cell['again']} "))
            (listed,) = re.findall(rf"{re.escape(row['name'])}: ([^;|]*)", line)
            assert facts["columns"][key].lower() in listed


def wrong(facts: dict) -> list[str]:
    """Return what is wrong with the table."""
    schema = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    found = [f"{error.json_path}: {error.message}" for error in schema.iter_errors(facts)]
    for row in facts["rows"]:
        name = row["name"]
        found += [f"{name}: has no cell for {key}" for key in facts["columns"] if key not in row["cells"]]
        own = next(pages for vendor, pages in VENDORS.items() if name.startswith(vendor))
        for key, cell in row["cells"].items():
            if not cell["source"].removeprefix("https://").startswith(own):
                found.append(f"{name}, {key}: {cell['source']} is not the vendor's")
            if cell["date"] > date.today().isoformat() and cell["date"][:1] == "2":
                found.append(f"{name}, {key}: {cell['date']} has not been yet")
            if cell.get("again", "9") <= cell["date"]:
                found.append(f"{name}, {key}: {cell['again']} is not after {cell['date']}")
    return found
