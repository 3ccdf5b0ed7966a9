"""Code: snippets, each with the line that says how it was proven, and what their functions return.

{{ snippet("postgres/usage.sql") }}                     a snippet
{{ snippet("postgres/usage.sql", region="slots") }}     a part of it
{{ project("upstream/") }}                              every file of a folder
{{ compute("sizing/sizing.py", "usable_slots", 100) }}  what a function in a snippet returns
"""

import re
import types
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from proven.evidence import summary
from proven.evidence.ledger import Run
from proven.guide import Guide
from proven.macros.calls import macro
from proven.macros.markup import UNSEARCHED, counted, in_words, inline, linked, proof_link, sentence, table
from proven.macros.place import Block, Place
from proven.problems import nearest
from proven.sources import characters, snippets, transcripts
from proven.sources.snippets import Snippet

FEW = 5  # proofs that the line below a snippet names
# What `evidence` would say of a snippet that it leaves out.
UNPROVEN: dict[str, Any] = {"alike": [], "how_far": [], "level": "unproven", "versions": {}, "day": None, "proofs": []}


def _unknown(guide: Guide, path: str) -> Iterator[str]:
    # A snippet that cannot be read is already reported at its own line.
    if path not in guide.snippets and not any(problem.path == f"{snippets.FOLDER}/{path}" for problem in guide.broken):
        yield f"no snippet is called {path!r}{nearest(path, guide.snippets)}"


def _wrong_snippet(guide: Guide, path: str, region: Any, title: Any, highlight: Any, transcript: Any) -> Iterator[str]:
    yield from _unknown(guide, path)
    if (snippet := guide.snippets.get(path)) is None:
        return
    if not snippet.text.strip():
        yield f"{snippet.place} is empty: there is nothing to show"
    if '"' in (title or ""):
        yield f"a title has no quotation marks, as {title!r} does: the block would have none"
    if region is not None and region not in snippet.regions:
        yield f"{snippet.place} has no region {region!r}{nearest(region, snippet.regions)}"
        return
    for text in _highlighted(highlight):
        if not isinstance(text, str) or not text or not snippet.lines_of(text, region):
            yield f"{snippet.place} has nothing to highlight that reads {text!r}"
    recorded = transcripts.of_snippet(snippet, guide.root) if transcript is not False else {}
    if transcript is not False and not recorded:
        yield f"{transcripts.file_of(snippet)} is not there: make record ONLY={snippet.place}"
    elif not isinstance(transcript, bool) and transcript not in recorded:
        yield f"{snippet.place} has no transcript called {transcript!r}{nearest(transcript, recorded)}"


def _highlighted(given: Any) -> list[Any]:
    return [] if given is None else given if isinstance(given, list) else [given]


@macro(shows="path", says=("title",), wrong=_wrong_snippet)
def snippet(
    at: Place,
    path: str,
    region: str | None = None,
    title: str | None = None,
    highlight: str | list[str] | None = None,
    transcript: bool | str = False,
) -> Block:
    """Show a snippet or one region of it; below it all its transcripts, or the one that is named.

    `highlight` names lines by a text in them or by a region, never by number.
    """
    shown = at.guide.snippets[path]
    heading = title or (f"{path} · {region}" if region else path)
    marked = sorted({line for name in _highlighted(highlight) for line in shown.lines_of(name, region)})
    lines = _fence(shown.show(region), shown.language, heading, marked)
    if transcript is not False:  # "" names the transcript without a name
        recorded = transcripts.of_snippet(shown, at.guide.root)
        for name in recorded if transcript is True else [transcript]:
            heading = "what it prints" + (f": {name}" if name else "")
            lines += ["", *_fence(recorded.get(name, "not recorded yet\n"), "text", heading, [])]
    return [*lines, "", *_proof_line(at, shown)]


def _unknown_folder(guide: Guide, folder: str) -> Iterator[str]:
    if not folder.endswith("/") or not any(path.startswith(folder) for path in guide.snippets):
        folders = {f"{above}/" for path in guide.snippets for above in Path(path).parents if above.name}
        yield f"no folder of snippets is called {folder!r}{nearest(folder, folders)}"


@macro(shows="folder", wrong=_unknown_folder)
def project(at: Place, folder: str) -> Block:
    """Show every snippet below a folder, each folded up, in the order a newcomer reads them."""
    lines: Block = []
    for path, shown in at.guide.snippets.items():
        if path.startswith(folder) and shown.text.strip():
            lines += [f'??? example "{path.removeprefix(folder)}"', ""]
            inner = [*_fence(shown.text, shown.language, path, []), "", *_proof_line(at, shown)]
            lines += [f"    {line}" if line else "" for line in inner] + [""]
    return lines


def _unknown_function(guide: Guide, path: str, function: str, **_: Any) -> Iterator[str]:
    yield from _unknown(guide, path)
    if path in guide.snippets:
        functions = re.findall(r"^def (\w+)\(", guide.snippets[path].text, re.MULTILINE)
        if function not in functions:
            yield f"{guide.snippets[path].place} has no function {function!r}{nearest(function, functions)}"


@macro(shows="path", wrong=_unknown_function)
def compute(at: Place, path: str, function: str, *args: Any, **kwargs: Any) -> str | Block:
    """Return what a function of a Python snippet returns; rows (a list of dicts) become a table."""
    value = getattr(module(at.guide, path), function)(*args, **kwargs)
    if value is None or value == []:
        return ""  # refused, like every call that shows nothing
    return table(value) if isinstance(value, list) else str(value)


@lru_cache(maxsize=16)  # a snippet is run once per build
def module(guide: Guide, path: str) -> Any:
    """Return a Python snippet's names."""
    found = guide.snippets[path]
    made = types.ModuleType(Path(path).stem)
    with snippets.beside(path, guide.root):
        exec(compile(found.text, found.place, "exec"), made.__dict__)  # noqa: S102
    return made


def _fence(code: str, language: str, title: str, marked: list[int]) -> Block:
    """Return a fenced code block. The fence is longer than any run of backticks inside."""
    ticks = "`" * max(3, max((len(run) for run in re.findall(r"`+", code)), default=0) + 1)
    lines = f' hl_lines="{" ".join(map(str, marked))}"' if marked else ""
    return [
        f'{ticks}{{ .{language} title="{title}"{lines} {UNSEARCHED} }}',
        *characters.lines(code.rstrip("\n")),
        ticks,
    ]


def _proof_line(at: Place, shown: Snippet) -> Block:
    """Return the line under a snippet: how far it was proven, on what, when. It unfolds to all versions and proofs."""
    file = f"{at.up}{snippets.FOLDER}/{shown.path}"
    said = evidence(at.guide).get(shown.path)
    if said is None:
        return [inline("unproven.md.jinja", file=file), f"{{ .proof .unproven {UNSEARCHED} }}"]
    first, *others = (linked(text) for text in said["how_far"])
    names = said["proofs"]
    line = inline(
        "proof_line.md.jinja",
        **said,
        first=sentence(first),
        others=others,
        links={in_words(name): proof_link(at, name) for name in names[:FEW]},
        more=len(names) - FEW,
        count=counted(len(names), "proof"),
        link=proof_link(at, names[0]),
        file=file,
    )
    return [line, f"{{ .proof {UNSEARCHED} }}"]


@lru_cache(maxsize=1)  # several pages show the same snippet, and one shows them all
def evidence(guide: Guide) -> dict[str, dict[str, Any]]:
    """Return for each proven snippet how far it is proven, on what and when, by which proofs, and runs that differ."""
    found = {}
    for path in guide.snippets:
        runs = guide.ledger.of_snippet(path)
        alike = summary.distinct(runs, path)
        if how_far := summary.how_far(alike, path):
            found[path] = {
                "alike": alike,
                "how_far": how_far,
                "level": summary.level(alike, path),
                "versions": summary.versions(alike),
                "ran": _ran(runs),
                "day": summary.newest(runs),
                "proofs": sorted({run.proof for run in runs}),
            }
    return found


def _ran(runs: list[Run]) -> str:
    """Return how often proofs ran, on how many stacks, and from which day to which."""
    first, last = min(run.date for run in runs), summary.newest(runs)
    stacks = counted(len({run.stack_key for run in runs}), "stack")
    return f"{counted(len(runs), 'run')} on {stacks}, {last if first == last else f'{first} to {last}'}"
