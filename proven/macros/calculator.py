"""The calculator: sizing/budget.py as a form, which calculator.js evaluates.

{{ calculator() }}
"""

from pathlib import Path

import yaml

from proven.macros.calls import macro
from proven.macros.code import module
from proven.macros.markup import html
from proven.macros.place import Block, Place
from proven.sources.snippets import Snippet

LABELS = Path(__file__).parent / "templates/calculator.yaml"


@macro()
def calculator(at: Place) -> Block:
    """Show a field for each number of the formulas, and the files into which the calculator puts its results.

    All of it is in a <template>, so that nothing is shown without JavaScript.
    """
    fields = module(at.guide, "sizing/budget.py").FIELDS
    labels = yaml.load(LABELS.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return html("calculator.html", up=at.up, fields=fields, files=calculated_files(at.guide.snippets), **labels)


def calculated_files(known: dict[str, Snippet]) -> dict[str, str]:
    """Return the files into which the calculator puts its numbers, as they were proven."""
    ini, env = known["pgbouncer/pgbouncer.ini"], known["upstream/.env.example"]
    return {
        "pgbouncer.ini": ini.text.replace(ini.show("session"), ""),  # its pool has a size of its own
        ".env": "\n".join([env.show("database"), env.show("direct"), known["sizing/process.env"].text]),
        "postgresql.conf": known["sizing/postgresql.conf"].text,
    }
