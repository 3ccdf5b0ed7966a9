"""What a page may hold beside prose and macro calls: a short list of HTML, of attributes and of places to link to.

Everything else that a reader would take for the guide's word comes from macros: code, drawings, and the marks and lines
that say what ran. A line is read by itself, so a code span ends on the line on which it begins.
"""

import re
from collections.abc import Iterator

from proven.problems import Problem
from proven.sources import characters, handmade
from proven.sources.pages import CODE

TEMPLATE = re.compile(r"\{(?P<kind>[{%#]).*?[}%#]\}", re.DOTALL)  # its own mistakes are reported where pages are parsed
OPENS = re.compile(r"<[A-Za-z/!?]")
# Without `markdown`, what a macro renders inside would be shown as it is. The last is where the list of tags goes.
TAG = re.compile(r'<div(?: class="[\w -]+")?(?: id="[\w-]+")? markdown>|</div>|</?kbd>|<br>|<!-- material/tags -->')
ATTRIBUTES = re.compile(r"\{ (?:#[\w-]+|\.small) \}")
TARGET = re.compile(r"\]\(\s*(?P<link>[^)\s]*)|^\s*\[[^]]+\]:\s*(?P<listed>\S*)")
ELSEWHERE = "https://"
LONGEST = 65  # characters of a command or a message within a sentence


def problems(path: str, text: str) -> list[Problem]:
    """Return what a page holds that it may not. `text` has no front matter, and each line is where it was."""
    if handmade.FENCE.search(text):  # refused already, with what looks like HTML in it
        return []
    lines = characters.lines(TEMPLATE.sub(lambda call: "x" + "\n" * call[0].count("\n"), text))
    return [Problem(path, number, why) for number, line in enumerate(lines, start=1) for why in _wrong(line)]


def wrong(text: str) -> str:
    """Return what is wrong with a text that a macro puts into a page unchanged, or nothing."""
    if not text.strip() or "\n" in text:
        return "it has to be a text on one line"
    return next(_wrong(text), "")


def _wrong(line: str) -> Iterator[str]:
    for span in CODE.finditer(line):
        if len(span["code"]) > LONGEST:
            yield f"code of {len(span['code'])} characters in a sentence: {handmade.WHAT_TO_DO}"
    prose = CODE.sub("code", line)
    if "`" in prose:
        yield "a backtick begins code that does not end on its line"
    opened = (tag.start() for tag in OPENS.finditer(prose))
    if (first := next((at for at in opened if not TAG.match(prose, at)), None)) is not None:
        yield f"{_short(prose[first:])} is HTML that a page may not hold: write Markdown, or call a macro"
    bare = ATTRIBUTES.sub("", prose)
    if brace := re.search(r"(?<!\{)\{(?![{%#])", bare):
        what = "only { #anchor } and { .small } may stand on a page; marks and lines of proof come from macros"
        yield f"{_short(bare[brace.start() :])}: {what}"
    for target in TARGET.finditer(prose):
        link = target["link"] or target["listed"] or ""
        if not link.startswith(ELSEWHERE) and re.search(r"[:&<>\\]|^//", link):
            yield f"{_short(link)} is not a link that a page may have: one to a file of docs/, or to {ELSEWHERE}…"
    if "![" in prose:
        yield "a picture comes from a macro: put it into docs/assets/ and call {{ picture(…) }}"


def _short(text: str) -> str:
    """Return the beginning of a text, for a message."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
