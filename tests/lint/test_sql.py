"""SQL snippets, by PostgreSQL's own parser. What psql adds to the language is taken out first."""

import re

import pglast

from proven import ROOT
from proven.problems import Problem
from tests.lint import files
from tests.lint.findings import refuse

# PgBouncer's console has commands of its own, which no parser knows: its proofs run them.
CONSOLE = ("snippets/pgbouncer/*",)
# What psql leaves alone, then what it takes for itself: commands after a backslash, and variables.
TOKENS = re.compile(
    r"""
      (?P<kept> '(?:[^']|'')*' | "[^"]*" | --[^\n]* | /\*.*?\*/ | (?P<tag>\$\w*\$).*?(?P=tag) | :: )
    | (?P<command> \\[^\n]* )
    | : (?P<quote>['"]?) (?P<name>[^\W\d]\w*) (?P=quote)
    """,
    re.VERBOSE | re.DOTALL,
)
# Those that send the statement before them, as a semicolon does.
SENDS = re.compile(r"\\(?:g|watch|crosstabview|;)")


def test_postgresql_parses_every_statement() -> None:
    """PostgreSQL's grammar knows each statement; psql's commands and variables may stand between and in them."""
    refuse(
        problem
        for path in files.matching("snippets/*.sql", without=CONSOLE)
        for problem in problems(path, (ROOT / path).read_text(encoding="utf-8"))
    )


def problems(path: str, text: str) -> list[Problem]:
    """Return what PostgreSQL cannot parse: the first such place, because it stops there."""
    sql = without_psql(text)
    try:
        pglast.parse_sql(sql)
    except pglast.parser.ParseError as error:
        message, position = error.args[0], error.args[1]
        return [Problem(path, 1 + sql.count("\n", 0, position), f"PostgreSQL cannot parse this: {message}")]
    return []


def without_psql(text: str) -> str:
    """Return a script as psql would send it, each line where it was."""
    return TOKENS.sub(_sent, text)


def _sent(token: re.Match[str]) -> str:
    if token["kept"]:
        return token["kept"]
    if token["command"]:
        return ";" if SENDS.match(token["command"]) else ""
    # A variable that is neither quoted as a string nor as a name is a number.
    return {"'": f"'{token['name']}'", '"': f'"{token["name"]}"'}.get(token["quote"], "1")
