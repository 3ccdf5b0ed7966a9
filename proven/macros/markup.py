"""Markdown and HTML that several families use, and the templates: values are escaped there and nowhere else."""

import re
from pathlib import Path
from typing import Any

import jinja2

from proven.macros.place import Block, Place

PROOFS_PAGE = "reference/proofs.md"
# As many proofs as all others: one page with both would be too heavy.
PROOFS_OF_HOW_TOS = "reference/proofs-of-how-tos.md"
# Every visitor who searches fetches the whole index, so it holds only the prose, without what is in blocks.
UNSEARCHED = 'data-search-exclude=""'
# {.class}, {#anchor}, {lang=de}: how Python's Markdown attaches attributes. Inside a line, nothing else begins so.
ATTRIBUTES = re.compile(r" ?\{:? ?(?:[.#]|lang=)[^{}\n]*\}")
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=jinja2.select_autoescape(["html", "svg"]),  # not in Markdown, which is escaped differently
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
    auto_reload=False,  # else each call on a page asks whether its template was edited
)


def proofs_page(path: str) -> str:
    """Return which page lists the proofs of a module of tests/proofs/."""
    return PROOFS_OF_HOW_TOS if path.startswith("tests/proofs/how_to/") else PROOFS_PAGE


def proof_link(at: Place, name: str) -> str:
    """Return the relative link to a proof, where it is listed."""
    return f"{at.link(proofs_page(at.guide.proofs[name].path))}#{name}"


def html(template: str, **values: Any) -> Block:
    """Return HTML as a block. An empty line would end it for Markdown."""
    return [
        line
        for line in TEMPLATES.get_template(template).render(values, unsearched=UNSEARCHED).splitlines()
        if line.strip()
    ]


def inline(template: str, **values: Any) -> str:
    """Return HTML or Markdown that goes into a line, such as a sentence or a cell."""
    return TEMPLATES.get_template(template).render(values, unsearched=UNSEARCHED).strip()


def figure(svg: str, caption: str = "") -> str:
    """Return a drawing in the page itself, on one line."""
    return re.sub(r">\s+<", "><", inline("figure.html", svg=svg.strip(), caption=caption))


def table(rows: list[dict[str, Any]]) -> Block:
    """Return rows as a Markdown table; the keys of the first are its header. Numbers align right."""
    header = list(rows[0])
    rule = ["---:" if isinstance(rows[0][name], int | float) else "---" for name in header]
    body = [[str(row[name]) for name in header] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in [header, rule, *body]]


def unsearched(name: str, lines: Block) -> Block:
    """Return lines as a block of this class that the site's search leaves out."""
    return [f'<div class="{name}" {UNSEARCHED} markdown>', "", *lines, "", "</div>"]


def in_words(proof: str) -> str:
    """Return a proof's name as words."""
    return proof.removeprefix("test_").replace("_", " ").capitalize()


def sentence(text: str) -> str:
    """Return a text with its first letter capitalised and the rest as it is."""
    return text[:1].upper() + text[1:]


def counted(number: int, thing: str) -> str:
    """Return how many there are of a thing: "1 proof", "2 proofs"."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def linked(text: str) -> str:
    """Return a text with its addresses as links, shown without https://."""
    return re.sub(r"https://([^\s,]+)", r"[\1](https://\1)", text)


def bare(text: str) -> str:
    """Return a line of Markdown as bare text: without marks of proof, links, emphasis and attributes."""
    text = re.sub(r"\[(?:✓|not yet proven)\]\([^)]*\)", "", ATTRIBUTES.sub("", text))
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+([.,:;]|$)", r"\1", " ".join(re.sub(r"[*`]", "", text).split()))
