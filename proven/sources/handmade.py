"""A code block that is typed into a page: a reader would copy it, and no proof runs it.

The page is converted with the site's own Markdown extensions, so that code blocks in a list, a quote or a tab
need not be guessed.
"""

import re
from functools import cache
from html import unescape
from pathlib import Path

import yaml
from markdown import Markdown

from proven.problems import Problem
from proven.sources import characters, configuration

WHAT_TO_DO = "put the code in a file under snippets/ and call {{ snippet(…) }}"
FENCE = re.compile(r"```|~~~")
BLOCK = re.compile(r"<pre\b[^>]*>")
INDENTED = re.compile(r" {4}|\t")  # anywhere: it may stand in a list or a quote
TAG = re.compile(r"<[^>]+>")


def problems(path: str, text: str, root: Path) -> list[Problem]:
    """Return a problem for each code block on a page. `text` has no front matter, and each line is where it was."""
    try:
        found = _found(text, (root / configuration.FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError, AttributeError, TypeError) as error:
        line = mark.line + 1 if (mark := getattr(error, "problem_mark", None)) else 1
        why = getattr(error, "problem", None) or " ".join(str(error).split())
        return [Problem(configuration.FILE, line, f"the settings cannot be read: {why}")]
    return [Problem(path, line, f"{what} is typed by hand: {WHAT_TO_DO}") for line, what in found]


@cache  # `make serve` asks again for every page when one was edited
def _found(text: str, settings: str) -> list[tuple[int, str]]:
    """Return the line of each code block, and what it is."""
    lines = characters.lines(text)
    fences = [number for number, line in enumerate(lines, start=1) if FENCE.search(line)]
    if fences:  # every other one closes what the one before it opened
        return [(line, "a code block") for line in fences[::2]]
    if not INDENTED.search(text):
        return []  # as on most pages, which then need not be converted
    html = _converter(settings).reset().convert(text)
    found = []
    last = 0
    for block in BLOCK.finditer(html):
        last = _line(lines, last, html[block.end() :])
        found.append((last, "an indented code block"))
    return found


def _line(lines: list[str], after: int, shown: str) -> int:
    """Return the next line that reads as the first line of a converted block."""
    first = next((line.strip() for line in characters.lines(unescape(TAG.sub("", shown))) if line.strip()), "")
    for number, line in enumerate(lines[after:], start=after + 1):
        if line.strip(" \t>") == first:
            return number
    return after or 1


@cache
def _converter(settings: str) -> Markdown:
    """Return a converter with the extensions that this mkdocs.yml names."""
    listed = configuration.parse(settings).get("markdown_extensions", [])
    options = [extension if isinstance(extension, dict) else {extension: {}} for extension in listed]
    names = {name: values or {} for extension in options for name, values in extension.items()}
    converter = Markdown(extensions=list(names), extension_configs=names)
    converter.treeprocessors.deregister("inline")  # what is within a line is no block, and takes the longest to convert
    return converter
