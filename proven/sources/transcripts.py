"""A transcript: what a snippet printed, in a file beside it, compared at every run.

Values that differ from run to run (a process id, an age) are normalised on both sides before the comparison. When
a transcript is recorded again and only such values differ, the file is left as it is, so that diffs stay small.

One snippet may have several: one for each case that a proof puts it in, and where another stack prints something
else, one for that variant: closed_connection.crashed.out, usage.PostgreSQL-15.out.
"""

import difflib
import re
from pathlib import Path

from proven import ROOT, whole
from proven.problems import Problem, ProblemError
from proven.sources import characters, snippets
from proven.sources.snippets import Snippet

Normaliser = tuple[str, str]  # a regular expression and what to put in its place

# psql pads its columns to the widest value.
PADDING: list[Normaliser] = [(r"[ \t]+", " "), (r"-{2,}", "--"), (r" ?\n ?", "\n")]


def normalise(text: str, volatile: list[Normaliser]) -> str:
    """Return a text with its volatile values replaced and its padding evened out."""
    for pattern, replacement in [*volatile, *PADDING]:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.strip() + "\n"


def settle(
    snippet: Snippet,
    output: str,
    volatile: list[Normaliser],
    *,
    record: bool,
    case: str | None = None,
    variants: tuple[str, ...] = (),
    root: Path = ROOT,
) -> None:
    """Compare what a snippet printed with its transcript, or record it where `record` is set.

    A stack other than the default one names itself as the first of its `variants`, then those whose transcripts hold
    for it as well. It has a file of its own only where its output differs from all of theirs.
    Raises ProblemError with a diff and the command that accepts the new output.
    """
    default = file_of(snippet, case)
    others = [file_of(snippet, case, variant) for variant in variants]
    path = next((other for other in others if (root / other).exists()), default)
    old = _read(root / path)
    new = "\n".join(line.rstrip() for line in characters.lines(output.strip("\n"))) + "\n"
    if old and normalise(old, volatile) == normalise(new, volatile):
        return
    if record:
        own = others[0] if others and old else default
        whole.write(root / own, new)
        return
    accept = f"if the new output is right: make record ONLY={snippet.place}"
    varies = "for what differs from run to run, give volatile="
    if not old:
        raise ProblemError(path, 1, f"{snippet.place} has no transcript; {accept}")
    diff = list(difflib.unified_diff(characters.lines(old), characters.lines(new), "recorded", "this run", lineterm=""))
    was, now = (normalise(text, volatile).splitlines() for text in (old, new))
    line = next((at for at, (a, b) in enumerate(zip(was, now, strict=False), 1) if a != b), min(len(was), len(now)))
    message = f"the output of {snippet.place} differs; {accept}; {varies}\n" + "\n".join(diff)
    raise ProblemError(path, line, message, untrue=True)


def file_of(snippet: Snippet, *names: str | None) -> str:
    """Return where a transcript is, from the project's root; the names are its case and its variant, if any."""
    path = Path(snippets.FOLDER, snippet.path)
    return path.with_suffix("." + ".".join([*filter(None, names), "out"])).as_posix()


def of_snippet(snippet: Snippet, root: Path = ROOT) -> dict[str, str]:
    """Return a snippet's transcripts by what a page calls them; the one without a case or variant is called ""."""
    default = root / file_of(snippet)
    files = [default, *sorted(default.parent.glob(f"{default.stem}.*.out"))]
    names = (file.name.removeprefix(default.stem).removesuffix(".out").strip(".") for file in files)
    return {
        re.sub(r"[-_]", " ", re.sub(r"\.(?!\d)", ", ", name)): _read(f)
        for name, f in zip(names, files, strict=True)
        if f.exists()
    }


def broken(root: Path = ROOT) -> list[Problem]:
    """Return what is wrong with the text of transcripts."""
    found = []
    for file in sorted((root / snippets.FOLDER).rglob("*.out")):
        try:
            characters.seen(file, file.relative_to(root).as_posix())
        except ProblemError as error:
            found.append(error.problem)
    return found


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
