"""Snippets that read well, and that a server or an interpreter refuses."""

from collections.abc import Callable
from typing import Any

import pytest

from proven.problems import ProblemError
from proven.sources import snippets
from proven.sources.snippets import Snippet
from tests.stack.database import Database

SQL = """\
-- region: count
select count(*) as answers
from pg_class;

-- The name of a column, almost.
select
    relname,
    relpagse
from pg_class;
-- endregion: count
"""
RAISES = '''\
"""Divides."""


# region: ask
def ask() -> float:
    """Ask for too much."""
    return 1 / 0


# endregion: ask
print(ask())
'''
PRINTS = '''\
"""Multiplies."""

# region: answer
print(6 * 7)
#> 43
# endregion: answer
'''


def test_sql_that_names_a_missing_column_is_refused_at_its_line(database: Database) -> None:
    """It parses, so only a server can know. Markers count as lines of the file."""
    with pytest.raises(ProblemError, match=r'^snippets/x\.sql:8: .*column "relpagse" does not exist'):
        database.psql(snippets.parse("x.sql", SQL))


def test_python_that_raises_is_refused_at_its_line(run_script: Callable[[Snippet], dict[str, Any]]) -> None:
    """The line that raised, not the one that called it."""
    with pytest.raises(ProblemError, match=r"^snippets/x\.py:7: ZeroDivisionError: division by zero"):
        run_script(snippets.parse("x.py", RAISES))


def test_python_that_prints_something_else_is_refused_at_its_line(
    run_script: Callable[[Snippet], dict[str, Any]],
) -> None:
    """What a script prints stands in it, in comments; the first that is wrong is named."""
    with pytest.raises(ProblemError, match=r"^snippets/x\.py:5: "):
        run_script(snippets.parse("x.py", PRINTS))
