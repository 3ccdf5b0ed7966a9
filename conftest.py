"""Makes plain `pytest` load the engine's plugin, the real servers and the real browser."""

import pytest

from proven import ROOT
from setup import shell

shell.enter()  # before anything reads the environment: what is loaded now, and the servers that it starts

pytest_plugins = [
    "proven.pytest_plugin",
    "tests.known",
    "tests.stack.fixtures",
    "tests.stack.scripts",
    "tests.proofs.fixtures",
    "tests.site.fixtures",
]

# What takes long begins first: whoever began with it when all else is done would be waited for.
FIRST = (
    "tests/proofs/tutorials/test_compose_lab.py",
    "tests/proofs/how_to/test_restart_drill.py",
    "tests/proofs/how_to/test_alert.py",
    "tests/proofs/how_to/test_failover.py",
    "tests/site/test_pages.py",
    "tests/guard/ci/test_workflows.py",
    "tests/proofs/how_to/test_dead_network.py",
    "tests/proofs/reference/test_every_error.py",
    "tests/site/test_serve.py",
    "tests/site/test_calculator.py",
    "tests/site/test_zensical.py",
    "tests/guard/test_pytest_plugin.py",
    "tests/site/test_use.py",
    "tests/site/test_plain.py",
    "tests/site/test_rebuild.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of FIRST first, in its order; all others stay in theirs."""
    place = {ROOT / name: at for at, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(FIRST)))
