"""The text of a file, which readers get byte for byte as it was tested, without invisible characters."""

import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from proven.problems import Problem, ProblemError

# Control characters have no names in Unicode's own table.
NAMES = {
    "\0": "NULL",
    "\b": "BACKSPACE",
    "\v": "LINE TABULATION",
    "\f": "FORM FEED",
    "\r": "CARRIAGE RETURN",
    "\x1b": "ESCAPE",
    "\x7f": "DELETE",
    "\x85": "NEXT LINE",
}
# Letters and marks that are drawn as nothing: Hangul fillers, joiners, variation selectors.
BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def lines(text: str, keepends: bool = False) -> list[str]:
    """Split a text at line feeds alone: str.splitlines() also splits at characters that end no line in a program."""
    found = io.StringIO(text, newline="\n")
    return list(found) if keepends else [line.removesuffix("\n") for line in found]


def read(file: Path, path: str) -> str:
    """Return a file's text. Raises ProblemError, which calls it `path`, where it cannot be read or is not UTF-8."""
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise ProblemError(path, 1, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ProblemError(path, line, "not UTF-8 text: save it as UTF-8, or delete it") from None


def seen(file: Path, path: str) -> str:
    """Return the text of a file, as `read` does. Also raises ProblemError for the first invisible character."""
    found = read(file, path)
    for problem in unseen(path, found):
        raise ProblemError(problem.path, problem.line, problem.message)
    return found


def unseen(path: str, text: str) -> Iterator[Problem]:
    """Return a problem for each line with an invisible character, and one for lines that end in CR LF."""
    if text.replace("\n", " ").replace("\t", " ").isprintable() and not BLANK.search(text):
        return
    if "\r\n" in text:
        first = text.count("\n", 0, text.index("\r\n")) + 1
        yield Problem(path, first, "a line ends in CR LF, as on Windows: save the file with LF alone")
        text = text.replace("\r\n", "\n")
    for number, line in enumerate(lines(text), start=1):
        for character in line:
            if character != "\t" and (not character.isprintable() or BLANK.match(character)):
                name = NAMES.get(character) or unicodedata.name(character, "a character without a name")
                message = (
                    f"U+{ord(character):04X} {name}: nobody sees it here, so take it out, or write it as an escape"
                )
                yield Problem(path, number, message)
                break
