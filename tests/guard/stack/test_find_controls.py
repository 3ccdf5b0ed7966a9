"""The table of edits by which controls are found, and what is written into a module."""

from pathlib import Path

import pytest

from proven.sources.controls import Edit, Here
from tests.stack import find_controls


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("select pg_terminate_backend(1);", "select pg_terminate_backend(1);", "select pg_cancel_backend(1);"),
        ("pool_mode = transaction", "pool_mode = transaction", "pool_mode = session"),
        ("default_pool_size = 20", "default_pool_size = 20", "default_pool_size = 200"),
        ("where a\n    and b", "and b", "or b"),
        ("where a\n    and b", "and b", ""),
        ("if used > 0.8:", "if used > 0.8:", "if used < 0.8:"),
    ],
)
def test_the_table_has_edits_that_say_something_else(text: str, old: str, new: str) -> None:
    """Opposites, other numbers, and lines that are left out."""
    assert (old, new) in list(find_controls.edits(text))


def test_a_comment_is_not_edited() -> None:
    """Nothing can fail for it."""
    assert list(find_controls.edits("-- idle sessions\n# 20\n; pool_mode = session\n")) == []


def test_what_is_found_stands_above_its_proof_with_its_import(tmp_path: Path) -> None:
    """Below the imports that are there, above other decorators, and nothing else of the module is touched."""
    module = tmp_path / "test_case.py"
    module.write_text(
        '"""A page."""\n\nimport pytest\n\n\n@pytest.mark.usefixtures("one")\ndef test_one() -> None: ...\n'
    )
    change = Edit("a.sql", "it's", 'a "b"')
    find_controls.write(module, {"test_one": find_controls.stated(change)})
    assert module.read_text() == (
        '"""A page."""\n\nimport pytest\n\nfrom proven.sources.controls import control, edit\n\n\n'
        '@control(edit("a.sql", "it\'s", \'a "b"\'))\n@pytest.mark.usefixtures("one")\ndef test_one() -> None: ...\n'
    )
    find_controls.write(module, {"test_one": find_controls.stated(Here("a", "b"))})
    assert module.read_text().count("@control") == 1
