"""What pages may call.

calls.py, place.py and markup.py are what families are written with. Each family is a file, with its macros, what can be
wrong with a call, and what it renders; HTML and SVG of more than an element are in templates/.

place.py       where a call stands: the page that is rendered, and the line of it
calls.py       how a macro is declared, and the calls of all pages by these declarations
markup.py      Markdown and HTML that several families give
code.py        snippets, and what their functions return
claims.py      the mark behind a sentence, and every proof with what it ran on
matrix.py      on which versions proofs have passed
audit.py       what the audit finds, and how often it is right
charts.py      bars and curves as SVG
numbers.py     measured numbers, tables and charts of them
errors.py      the texts of errors, by which readers find a runbook
atlas.py       all of these texts in one list, with what was heard of each
terms.py       terms with their explanations
lists.py       the pages beside a page, and tables and drawings that lie under docs/
catalogue.py   every snippet, to be filtered, copied and downloaded
calculator.py  the formulas of sizing/budget.py as a form
"""

# Whatever is imported from this package, every macro is declared.
from proven.macros import atlas, audit, calculator, catalogue, claims, code, errors, lists, matrix, numbers, terms

__all__ = [
    "atlas",
    "audit",
    "calculator",
    "catalogue",
    "claims",
    "code",
    "errors",
    "lists",
    "matrix",
    "numbers",
    "terms",
]
