"""What pages may call.

Families of macros are written with calls.py, place.py and markup.py. Each family is a file: its macros, what can be
wrong with a call, and what it renders; HTML and SVG of more than one element are in templates/.

place.py       where a call stands: the page that is rendered, and the line of it
calls.py       how a macro is declared, and the calls of all pages, bound to these declarations
markup.py      Markdown and HTML that several families use
code.py        snippets, and what their functions return
claims.py      the mark behind a sentence, and every proof with what it ran on
matrix.py      on which versions proofs have passed
audit.py       what the audit finds, and how often it is right
charts.py      bars and curves as SVG
numbers.py     measured numbers, tables and charts of them
errors.py      the texts of errors, by which readers find a runbook
atlas.py       all of these texts in one list, with how each was reported
terms.py       terms with their explanations
decision.py    questions that lead to what was measured
lists.py       the pages beside a page, and tables and drawings that lie under docs/
catalogue.py   every snippet, to be filtered, copied and downloaded
calculator.py  the formulas of sizing/budget.py as a form
"""

# An import of anything in this package declares every macro.
from proven.macros import (
    atlas,
    audit,
    calculator,
    catalogue,
    claims,
    code,
    decision,
    errors,
    lists,
    matrix,
    numbers,
    terms,
)

__all__ = [
    "atlas",
    "audit",
    "calculator",
    "catalogue",
    "claims",
    "code",
    "decision",
    "errors",
    "lists",
    "matrix",
    "numbers",
    "terms",
]
