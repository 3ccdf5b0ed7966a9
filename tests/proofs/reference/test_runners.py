"""Proves docs/reference/runners.md: what each runner's connections come to. `make record` counts them anew."""

import json

import pytest

from proven import ROOT, whole
from proven.evidence.measurements import FOLDER
from proven.sources.controls import control, edit, here
from tests.stack.runners import RUNNERS, STRATEGIES, Counts, counts

FILE = ROOT / FOLDER / "runners.json"
USUAL = "age-60"  # the one of which `make test` counts each runner
COLUMNS = {"most": "at most", "opened": "opened for each unit", "left": "left open", "lost": "units lost"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let `make record` and `make prove ONLY=docs/reference/runners.md` count every cell."""
    asked = any("runners" in only for only in metafunc.config.getoption("only"))
    every = asked or metafunc.config.getoption("record")
    metafunc.parametrize("strategy", STRATEGIES if every else [USUAL])
    metafunc.parametrize("runner", RUNNERS)


def known(strategy: str, runner: str) -> Counts | None:
    """Return what was counted before."""
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found.get(strategy, {}).get(runner)


def record(strategy: str, runner: str, found: Counts) -> None:
    """Keep what was counted, among what was before."""
    with whole.alone(FILE.parent):
        before = json.loads(FILE.read_text()) if FILE.exists() else {}
        cells = {name: before.get(name, {}) for name in STRATEGIES}
        cells[strategy][runner] = found
        labels = {name: each.name for name, each in STRATEGIES.items()} | COLUMNS
        labels |= {name: str(each) for name, each in RUNNERS.items()}
        ordered = {name: {each: row[each] for each in RUNNERS if each in row} for name, row in cells.items()}
        whole.write(FILE, json.dumps({"labels": labels, **ordered}, indent=1, ensure_ascii=False) + "\n")


@control(
    edit("upstream/settings/prod.py", 'seconds("DB_CONN_MAX_AGE", default=60)', "0"), fails_with="connections left: 3"
)
@control(here("run_in(runner, strategy)", 'run_in(runner, "age-0" if runner == "uvicorn" else strategy)'))
def test_each_runner_has_the_connections_that_the_matrix_says(
    run_in, strategy, runner, request: pytest.FixtureRequest
) -> None:
    """Open at most, opened for each unit, left open and units lost are, for each runner, what the tables say."""
    before = None if request.config.getoption("record") else known(strategy, runner)
    found = counts(run_in(runner, strategy), before)
    if request.config.getoption("record"):
        return record(strategy, runner, found)
    assert found == before
    return None
