"""Measured numbers on pages: every one is there, and says no more than its interval allows."""

import json
from pathlib import Path

import pytest

from proven.evidence import measurements
from proven.macros import numbers
from proven.macros.charts import Bar
from tests.guard.project import make, problems

FILE = f"{measurements.FOLDER}/speed.json"
SPEED = {
    "labels": {"kept": "kept open", "p50": "median"},
    "results": {
        "none": {"p50": {"value": 12.21, "low": 11.4, "high": 13.1, "unit": "ms"}},
        "kept": {"p50": {"value": 1.3, "low": 1.28, "high": 1.34, "unit": "ms"}},
    },
    "ratios": {
        "none": {"value": 9.4, "low": 8.9, "high": 10.1, "unit": "×"},
        "checked": {"value": 1.01, "low": 0.97, "high": 1.05, "unit": "×"},
    },
    "extra": {"value": -0.02, "low": -0.1, "high": 0.05, "unit": "ms"},
    "counts": {"kept": {"open": 3, "left": "climbs"}},
    "kernel": "6.1",
    "waits": {"model": {"drawn": "line", "points": [[0.5, 1], [0.9, 5]]}},
}
# A call on line 3, and what is said of it.
REFUSED = {
    'measured("sped.results")': f"no file in {measurements.FOLDER}/ is called 'sped.json'; did you mean speed?",
    'measured("speed.results.non.p50")': "'speed.results.non' was not measured; did you mean none?",
    'measured("speed.results.none")': "this holds p50: name one of them",
    'measured("speed.waits.model.points")': "this is not a number that a page can show: name one in it",
    'measured("speed.kernel.version")': "'speed.kernel.version' was not measured",
    'verdict("speed.kernel", "a", "b", "c")': "'speed.kernel' has no interval to judge it by",
    'measurements("speed.results", "p59")': "'speed.results.none.p59' was not measured; did you mean p50?",
    'bars("speed.results", metric="p95", title="x")': "'speed.results.none.p95' was not measured; did you mean p50?",
    'lines("speed.ratios", title="x", x="x", y="y")': "'speed.ratios.points' was not measured",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with something measured."""
    return make(tmp_path, {FILE: json.dumps(SPEED)})


@pytest.mark.parametrize("call", REFUSED)
def test_a_number_that_was_not_measured_is_refused_with_its_line(tmp_path: Path, call: str) -> None:
    """With the name that was probably meant."""
    page = {"docs/a.md": f"# A\n\n{{{{ {call} }}}}\n", FILE: json.dumps(SPEED)}
    (found,) = problems(tmp_path, page)
    assert found == f"docs/a.md:3: {call.partition('(')[0]}(): {REFUSED[call]}"


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    """At the page that draws on it."""
    (found,) = problems(tmp_path, {"docs/a.md": '# A\n\n{{ measured("speed.kernel") }}\n', FILE: "{"})
    assert found.startswith("docs/a.md:3: measured(): docs/data/measurements/speed.json is not JSON: ")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("speed.results.none.p50", "12.2 ms (11.4 to 13.1)"),
        ("speed.ratios.none", "9.4 × (8.9 to 10.1)"),
        ("speed.ratios.checked", "≈ 1.01 × (0.97 to 1.05)"),
        ("speed.kernel", "6.1"),
    ],
)
def test_a_number_is_shown_with_its_interval(root: Path, path: str, text: str) -> None:
    """Rounded to three digits, and never broken across lines."""
    said = measurements.shown(measurements.find(root, path))
    assert said.replace(measurements.NO_BREAK, " ") == text
    assert " " not in said


def test_what_cannot_be_told_apart_is_not_told_apart(root: Path) -> None:
    """A ratio whose interval holds 1, and a difference whose interval holds 0, are no difference."""
    verdicts = {
        path: measurements.verdict(root, f"speed.{path}") for path in ("ratios.none", "ratios.checked", "extra")
    }
    assert verdicts == {"ratios.none": 1, "ratios.checked": 0, "extra": 0}


def test_tables_and_bars_show_what_is_in_the_file(root: Path) -> None:
    """Under the labels that the file gives."""
    rows = numbers.rows(root, "speed.results", ("p50",))
    assert [row["results"] for row in rows] == ["none", "kept open"]
    assert rows[1]["median, ms"].replace(measurements.NO_BREAK, " ") == "1.3 (1.28 to 1.34)"
    groups, unit = numbers.grouped(root, ("speed.results",), "p50")
    assert (groups[""][0], unit) == (Bar("none", 12.21, 11.4, 13.1), "ms")


def test_a_count_has_no_unit(root: Path) -> None:
    """A table shows it, or the word that stands for it, as the file has it."""
    assert numbers.rows(root, "speed.counts", ("open", "left")) == [
        {"counts": "kept open", "open": "3", "left": "climbs"}
    ]
