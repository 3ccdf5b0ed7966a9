"""What pages may call.

MkDocs (and Zensical) load this module and hand it to the pages' templates.

    {{ snippet("postgres/usage.sql") }}                     a snippet, with the line that says how it was proven
    {{ snippet("postgres/usage.sql", region="slots") }}     a part of it
    {{ project("upstream/") }}                              every file of a folder
    {{ proven("test_function_name") }}                      the mark behind a sentence that claims behaviour
    {{ compute("sizing/sizing.py", "usable_slots", 100) }}  what a function in a snippet returns
    {{ picture("life-of-a-connection.svg") }}               a drawing from docs/assets/, in the page's own colours
    {{ proofs() }}                                          every proof, with what it ran on
    {{ matrix("tests/proofs/a.py", "One", "Other") }}       its proofs, and on which versions of these each has passed
    {{ catalogue() }}                                       every snippet, to be filtered, copied and downloaded
"""

import inspect
import logging
import posixpath
import re
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from proven import ROOT, catalogue, check, guide, mistakes, pages, snippets, transcripts
from proven.evidence import LEVELS
from proven.guide import Guide
from proven.ledger import Run
from proven.problems import Problem
from proven.snippets import Snippet

PROOFS_PAGE = "reference/proofs.md"
Column = tuple[tuple[str, str], ...]  # the parts of a stack, each with its version
HTML = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
# MkDocs counts what this logger warns of, and a strict build fails on it.
log = logging.getLogger("mkdocs.proven")


def define_env(env: Any) -> None:
    """Register the macros: mkdocs-macros calls this once a build, Zensical once a page."""
    of = guide.read(ROOT)
    env.proven = Macros(env, of)
    for problem in env.proven.problems:
        log.warning("%s", problem)
    for name, macro in env.proven.calls().items():
        env.macro(macro, name)


def on_pre_page_macros(env: Any) -> None:
    """Show a page's mistakes in their places: mkdocs-macros calls this before it renders a page."""
    env.markdown = env.proven.with_mistakes(env.markdown)


def on_post_build(env: Any) -> None:
    """Complete the site with what no page shows: mkdocs-macros calls this after a build."""
    from proven import publish  # which calls these macros

    publish.finish(Path(env.conf["site_dir"]))


class Macros:
    """The macros, bound to the guide as it was read when the build began."""

    def __init__(self, env: Any, of: Guide) -> None:
        self.env = env
        self.guide = of
        self.problems = check.problems(of)
        self.sources: dict[str, list[str]] = {}
        self.modules: dict[str, types.ModuleType] = {}

    # ---- what pages call ---------------------------------------------------------------------------------

    def snippet(
        self,
        path: str,
        region: str | None = None,
        title: str | None = None,
        highlight: str | list[str] | None = None,
        transcript: bool | str = False,
    ) -> str:
        """Show a snippet or one region of it; below it all its transcripts, or the one that is named.

        `highlight` names lines by a text in them or by a region, never by number.
        """
        snippet = self.guide.snippets[path]
        code = snippet.show(region)
        heading = title or (f"{snippet.path} · {region}" if region else snippet.path)
        names = [highlight] if isinstance(highlight, str) else highlight or []
        marked = sorted({line for name in names for line in snippet.lines_of(name, region)})
        lines = _fence(code, snippet.language, heading, marked)
        if transcript:
            recorded = transcripts.of_snippet(snippet, self.guide.root)
            for name in recorded if transcript is True else [transcript]:
                heading = "what it prints" + (f": {name}" if name else "")
                lines += ["", *_fence(recorded.get(name, "not recorded yet\n"), "text", heading, [])]
        lines += ["", *self._proof_line(snippet)]
        return self._block(lines)

    def project(self, folder: str) -> str:
        """Show every snippet below a folder, each folded up, in the order a newcomer reads them."""
        lines: list[str] = []
        for path, snippet in self.guide.snippets.items():
            if guide.covers(folder, path) and snippet.text.strip():
                lines += [f'??? example "{path.removeprefix(folder)}"', ""]
                inner = [*_fence(snippet.text, snippet.language, path, []), "", *self._proof_line(snippet)]
                lines += [f"    {line}" if line else "" for line in inner] + [""]
        return self._block(lines)

    def proven(self, *names: str) -> str:
        """Mark a sentence as proven: a small link to the test, which says what it ran on."""
        marks = []
        for name in names:
            runs = self.guide.ledger.of_proof(name)
            link = self._link(PROOFS_PAGE)
            if runs:
                says = f"Proven by {name} on {stacks(runs)}, {newest(runs)}"
                marks.append(f'[✓]({link}#{name} "{says}"){{ .proven aria-label="{says}" }}')
            else:
                says = f"{name} has not passed since it was last edited"
                marks.append(f'[not yet proven]({link}#{name} "{says}"){{ .unproven }}')
        return "".join(marks)

    def compute(self, path: str, function: str, *args: Any, **kwargs: Any) -> str:
        """Return what a function of a Python snippet gives; rows (a list of dicts) become a table."""
        snippet = self.guide.snippets[path]
        if path not in self.modules:
            module = types.ModuleType(Path(path).stem)
            exec(compile(snippet.text, snippet.place, "exec"), module.__dict__)  # noqa: S102
            self.modules[path] = module
        value = getattr(self.modules[path], function)(*args, **kwargs)
        return self._block(table(value)) if isinstance(value, list) else str(value)

    def picture(self, name: str) -> str:
        """Show a drawing in the page itself, so that it takes the page's colours. Its <title> is its text."""
        svg = (self.guide.root / "docs" / "assets" / name).read_text(encoding="utf-8")
        line = re.sub(r">\s+<", "><", svg).strip()
        return f'<figure class="picture">{line}</figure>'

    def proofs(self) -> str:
        """List every proof: what it shows, where it is, and what it ran on."""
        lines: list[str] = []
        page = ""
        for name, proof in sorted(self.guide.proofs.items(), key=lambda item: (item[1].path, item[1].line)):
            if proof.path != page:
                page = proof.path
                lines += [f"## {self._title(check.page_of(page))}", ""]
            runs = self.guide.ledger.of_proof(name)
            ran = f"{stacks(runs)} · {newest(runs)}" if runs else "not proven at its present digest"
            shown = sorted({path for run in runs for path in run.snippets})
            lines += [f"### `{name}` {{ #{name} }}", "", proof.says, ""]
            lines += [f"{ran} · `{proof.path}:{proof.line}`", "{ .proof }", ""]
            if shown:
                lines += ["Runs " + ", ".join(f"`{path}`" for path in shown) + ".", "{ .proof }", ""]
        return "\n".join(lines)

    def matrix(self, tests: str, *components: str) -> str:
        """Show which proofs of a module or folder passed on which versions of these parts of a stack.

        Of parts that stand in for each other the first counts: "psycopg2|psycopg". A proof that met none is left out.
        """
        chosen = self.guide.proofs_in(tests)
        names = {proof.name for proof in chosen}
        met = {run.proof for run in self.guide.history.runs if run.proof in names and _column(run.stack, components)}
        outcomes: dict[Column, dict[str, set[str]]] = {}
        for run in self.guide.ledger.runs:
            column = _column(run.stack, components)
            if run.proof in names and column:
                outcomes.setdefault(column, {}).setdefault(run.proof, set()).add(run.outcome)
        columns = sorted(outcomes, key=lambda parts: [(name, _order(version)) for name, version in parts])
        rows: list[dict[str, Any]] = []
        for proof in [proof for proof in chosen if proof.name in met] or chosen:
            first = re.split(r"(?<=\.)\s", proof.says)[0].replace("|", "\\|")
            name = proof.name.removeprefix("test_").replace("_", " ").capitalize()
            row = {"What was seen": f"[{name}]({self._link(PROOFS_PAGE)}#{proof.name}). {first}"}
            for column in columns:
                heading = "<br>".join(f"{name} {version}" for name, version in column)
                row[heading] = _cell(outcomes[column].get(proof.name, set()))
            rows.append(row)
        return self._block(table(rows))

    def catalogue(self) -> str:
        """Show every snippet that is not empty with its digest and its proof, to be filtered, copied, downloaded."""
        listed = catalogue.manifest(self.guide)
        cards = [card for card in listed["snippets"] if card["bytes"]]
        for card in cards:
            runs = self.guide.ledger.of_snippet(card["path"])
            card["ran_on"] = stacks(runs)
            card["versions"] = {f"{name} {version}" for run in runs for name, version in run.stack.items()}
        html = HTML.get_template("catalogue.html").render(
            up=self._up(),
            cards=cards,
            archives=listed["archives"],
            filters=_filters(cards),
            proofs=pages.url(PROOFS_PAGE),
            manifest=catalogue.MANIFEST,
            schema=catalogue.SCHEMA,
        )
        # An empty line would end the block for Markdown.
        return self._block([line for line in html.splitlines() if line.strip()])

    # ---- what mistakes give instead ----------------------------------------------------------------------

    def with_mistakes(self, markdown: str) -> str:
        """Return the Markdown of the page being rendered, with what is wrong with it in its place."""
        path = f"{pages.FOLDER}/{self._page()}"
        for page in self.guide.pages:
            if page.path == path and (text := mistakes.shown(page, self.guide, self.problems)) != page.text:
                self.sources[self._page()] = text.splitlines()
                return text
        return markdown

    def calls(self) -> dict[str, Callable[..., str]]:
        """Return the macros by their names."""
        return {name: self._safely(getattr(self, name)) for name in pages.MACROS}

    def _safely(self, macro: Callable[..., str]) -> Callable[..., str]:
        """Return a macro that says on the page what it would raise: a function in a snippet may be broken."""

        def call(*args: Any, **kwargs: Any) -> str:
            try:
                return macro(*args, **kwargs)
            except Exception as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                message = f"{type(error).__name__} at {at.filename}:{at.lineno}: {error}"
                problem = Problem(f"{pages.FOLDER}/{self._page()}", self._line(), message)
                log.warning("%s", problem)
                return f"**{mistakes.plain(str(problem))}**"

        return call

    # ---- how they are put on the page --------------------------------------------------------------------

    def _proof_line(self, snippet: Snippet) -> list[str]:
        """Return the quiet line under a snippet: how far it was proven, on what, when, by what."""
        raw = f'<a href="{self._up()}{snippets.FOLDER}/{snippet.path}" download>file</a>'
        runs = self.guide.ledger.of_snippet(snippet.path)
        if not runs:
            return [f"Not yet proven at its present digest · {raw}", "{ .proof .unproven }"]
        level = catalogue.level(runs, snippet.path)
        names = sorted({run.proof for run in runs})
        first = f"[proof]({self._link(PROOFS_PAGE)}#{names[0]})"
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        return [f"{level.capitalize()} on {stacks(runs)} · {newest(runs)} · {first}{more} · {raw}", "{ .proof }"]

    def _block(self, lines: list[str]) -> str:
        """Return lines for the place of the call: as far in as the call itself stands.

        A template's expression knows nothing of what stands before it on its line, so the page is asked.
        """
        line = self._line()
        source = self._source()
        text = source[line - 1] if 0 < line <= len(source) else ""
        indent = text[: len(text) - len(text.lstrip())]
        first, *rest = lines
        return "\n".join([first, *(indent + row if row else "" for row in rest)])

    def _page(self) -> str:
        """Return the path of the page being rendered, from docs/."""
        page = self.env.page
        return str(page.file.src_uri if hasattr(page, "file") else page.path)

    def _source(self) -> list[str]:
        page = self._page()
        if page not in self.sources:
            self.sources[page] = (self.guide.root / pages.FOLDER / page).read_text(encoding="utf-8").splitlines()
        return self.sources[page]

    def _line(self) -> int:
        """Return the page's line that is being rendered: Jinja keeps it for its own error messages."""
        frame = inspect.currentframe()
        while frame is not None:
            template = frame.f_globals.get("__jinja_template__")
            if template is not None:
                return int(template.get_corresponding_lineno(frame.f_lineno)) + self._skipped()
            frame = frame.f_back
        return 1

    def _skipped(self) -> int:
        return pages.front_matter_lines("\n".join(self._source()) + "\n")

    def _link(self, page: str) -> str:
        return posixpath.relpath(page, posixpath.dirname(self._page()) or ".")

    def _up(self) -> str:
        """Return the way from the page's URL to the site's root."""
        page = self._page().removesuffix(".md").removesuffix("index")
        return "../" * len([part for part in page.split("/") if part])

    def _title(self, page: str) -> str:
        found = (known for known in self.guide.pages if known.path == page)
        return next((pages.title(known) for known in found), page)


def stacks(runs: list[Run]) -> str:
    """Return what proofs ran on in a few words: "Django 5.2.19 · PostgreSQL 15.18 and 18.6"."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, version in run.stack.items():
            versions.setdefault(name, set()).add(version)
    return " · ".join(f"{name} {' and '.join(sorted(found, key=_order))}" for name, found in sorted(versions.items()))


def _column(stack: dict[str, str], components: tuple[str, ...]) -> Column | None:
    """Return the names and versions of these parts in a stack, or None where it lacks one."""
    names = [next((name for name in part.split("|") if name in stack), "") for part in components]
    return tuple((name, stack[name]) for name in names) if all(names) else None


def _order(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _order_of_names(part: str) -> tuple[str, list[int]]:
    """Return how parts of stacks are sorted: "PgBouncer 1.18.0" before "PgBouncer 1.26.1" before "PostgreSQL 15.18"."""
    name, _, version = part.rpartition(" ")
    return name.lower(), _order(version)


def _cell(outcomes: set[str]) -> str:
    """Return what a matrix says of one proof on one stack, of which every case counts."""
    if not outcomes:
        return "not run"
    return "failed" if "failed" in outcomes else "✓"


def newest(runs: list[Run]) -> str:
    """Return the day of the latest run."""
    return max(run.date for run in runs)[:10]


def _filters(cards: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, str]]]:
    """Return what the catalogue can be filtered by: a card's field, its label, and the values that there are."""
    versions = {version for card in cards for version in card["versions"]}
    levels = {card["level"] for card in cards}
    shown = sorted({(page["title"], page["url"]) for card in cards for page in card["pages"]})
    return [
        ("kind", "Kind", {kind: kind for kind in sorted({card["kind"] for card in cards})}),
        ("page", "Explained in", {address: heading for heading, address in shown}),
        ("stack", "Ran on", {version: version for version in sorted(versions, key=_order_of_names)}),
        ("level", "Proof", {level: level.capitalize() for level in (*LEVELS, "unproven") if level in levels}),
    ]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows as a Markdown table; the keys of the first are its header. Numbers align right."""
    header = list(rows[0])
    rule = ["---:" if isinstance(rows[0][name], int | float) else "---" for name in header]
    body = [[str(row[name]) for name in header] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in [header, rule, *body]]


def _fence(code: str, language: str, title: str, marked: list[int]) -> list[str]:
    """Return a fenced code block. The fence is longer than any run of backticks inside."""
    ticks = "`" * max(3, max((len(run) for run in re.findall(r"`+", code)), default=0) + 1)
    options = f' title="{title}"' + (f' hl_lines="{" ".join(map(str, marked))}"' if marked else "")
    return [f"{ticks}{language}{options}", *code.rstrip("\n").splitlines(), ticks]
