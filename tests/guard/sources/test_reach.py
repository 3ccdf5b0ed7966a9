"""An edit of whatever a proof rests on is seen, and an edit of anything else is not."""

from pathlib import Path

import pytest

from proven.sources import proofs
from tests.guard.project import make

PROOF = '''\
import pytest
from tests.proofs import helpers
from tests.proofs.helpers import other as renamed
from tests.stack.servers import start

LIMIT = 10
NOBODYS = 1
pytestmark = pytest.mark.usefixtures("marked")


@pytest.fixture
def own(shared):
    return LIMIT


@pytest.fixture(autouse=True)
def always():
    pass


@pytest.fixture
def marked():
    pass


def test_answer(load, own) -> None:
    """It is 42."""
    assert helpers.one(renamed(), start()) == own
'''
HELPERS = """\
DEEP = 2


class Kind:
    two = DEEP


def one(first, second):
    return Kind().two


def other():
    return 3


def nobodys():
    pass
"""
PROJECT = {
    "conftest.py": 'pytest_plugins = ["proven.pytest_plugin", "tests.stack.fixtures"]\n',
    "tests/proofs/test_index.py": PROOF,
    "tests/proofs/helpers.py": HELPERS,
    "tests/stack/fixtures.py": "from tests.stack import servers\nA = 1\ndef shared():\n    return A, servers.start()\n",
    "tests/stack/servers.py": "def start():\n    return 4\n",
}


def parts(root: Path) -> dict[str, str]:
    """Return what the project's one proof rests on."""
    (proof,) = proofs.read(root)[0].values()
    return proof.parts


@pytest.mark.parametrize(
    ("path", "old", "new", "part"),
    [
        ("tests/proofs/test_index.py", "It is 42.", "It is 43.", "tests/proofs/test_index.py::test_answer"),
        ("tests/proofs/test_index.py", "LIMIT = 10", "LIMIT = 11", "tests/proofs/test_index.py::LIMIT"),
        ("tests/proofs/test_index.py", "return LIMIT", "return -LIMIT", "tests/proofs/test_index.py::own"),
        (
            "tests/proofs/test_index.py",
            "def always():\n    pass",
            "def always():\n    1",
            "tests/proofs/test_index.py::always",
        ),
        (
            "tests/proofs/test_index.py",
            "def marked():\n    pass",
            "def marked():\n    1",
            "tests/proofs/test_index.py::marked",
        ),
        ("tests/proofs/helpers.py", "DEEP = 2", "DEEP = 3", "tests/proofs/helpers.py::DEEP"),
        ("tests/proofs/helpers.py", "two = DEEP", "two = -DEEP", "tests/proofs/helpers.py::Kind"),
        ("tests/proofs/helpers.py", "return 3", "return 4", "tests/proofs/helpers.py::other"),
        ("tests/stack/fixtures.py", "return A", "return -A", "tests/stack/fixtures.py::shared"),
        ("tests/stack/fixtures.py", "A = 1", "A = 2", "tests/stack/fixtures.py::A"),
    ],
)
def test_an_edit_of_what_a_proof_rests_on_is_seen(path: str, old: str, new: str, part: str, tmp_path: Path) -> None:
    """Through imports, names, parameters and marks; and it is the part that differs, no other."""
    before = parts(make(tmp_path, PROJECT))
    after = parts(make(tmp_path, {**PROJECT, path: PROJECT[path].replace(old, new)}))
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {part}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("tests/proofs/test_index.py", "NOBODYS = 1", "NOBODYS = 2"),
        ("tests/proofs/helpers.py", "def nobodys():\n    pass", "def nobodys():\n    1"),
        ("tests/stack/servers.py", "return 4", "return 5"),
    ],
)
def test_an_edit_of_anything_else_is_not(path: str, old: str, new: str, tmp_path: Path) -> None:
    """What nothing leads to, and what starts the servers: that has tests of its own."""
    before = parts(make(tmp_path, PROJECT))
    edited = PROJECT[path].replace(old, new)
    assert edited != PROJECT[path]
    assert parts(make(tmp_path, {**PROJECT, path: edited})) == before


def test_two_parts_of_the_same_text_are_two(tmp_path: Path) -> None:
    """Their places tell them apart."""
    found = parts(make(tmp_path, PROJECT))
    assert len(set(found.values())) == len(found)
