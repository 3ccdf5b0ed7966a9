"""What pages may call.

MkDocs (and Zensical) load this module and hand it to the pages' templates.

    {{ snippet("postgres/usage.sql") }}                     a snippet, with the line that says how it was proven
    {{ snippet("postgres/usage.sql", region="slots") }}     a part of it
    {{ project("upstream/") }}                              every file of a folder
    {{ proven("test_function_name") }}                      the mark behind a sentence that claims behaviour
    {{ compute("sizing/sizing.py", "usable_slots", 100) }}  what a function in a snippet returns
    {{ picture("life-of-a-connection.svg") }}               a drawing from docs/assets/, in the page's own colours
    {{ facts("managed-poolers.json") }}                     what was read elsewhere, each cell with its source and day
    {{ proofs() }}                                          every proof, with what it ran on
    {{ matrix("tests/proofs/a.py", "One", "Other") }}       its proofs, and on which versions of these each has passed
    {{ catalogue() }}                                       every snippet, to be filtered, copied and downloaded
    {{ calculator() }}                                      sizing/budget.py as a form, which calculator.js answers
    {{ evidence() }}                                        in one line, how much ran, on what and when
    {{ symptom("query_wait_timeout") }}                     an error's text, by which a reader finds this runbook
    {{ sign("Requests are slow.") }}                        the same where no error is raised
    {{ ask() }}                                             the box into which readers paste their error
    {{ symptoms() }}                                        every such text, with its runbook
    {{ section() }}                                         the pages beside this one, each with what it answers
    {{ term("server connection") }}                         a term, with its explanation from the glossary
    {{ measured("reuse.ratios.p50") }}                      a measured number with its interval
    {{ verdict("reuse.ratios.p50", "more", "less", "as much") }}  the text that its interval allows
    {{ measurements("reuse.open", "p50", "p95") }}          a table of measured numbers
    {{ bars("reuse.open", metric="p50", title="Latency") }} the same as a chart, of one name or several
    {{ lines("sizing.wait", title="Wait", x="…", y="…") }}  measured curves and points
"""

import gc
import inspect
import json
import logging
import posixpath
import re
import traceback
import types
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2

from proven import ROOT, catalogue, charts, check, glossary, guide, measurements, symptoms
from proven.evidence import summary
from proven.evidence.ledger import Run
from proven.evidence.levels import LEVELS
from proven.guide import Guide
from proven.problems import Problem
from proven.site import mistakes, plain
from proven.sources import pages, snippets, transcripts
from proven.sources.proofs import Proof
from proven.sources.snippets import Snippet

PROOFS_PAGE = "reference/proofs.md"
Column = tuple[tuple[str, str], ...]  # the parts of a stack, each with its version
HTML = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
PROJECT = "upstream"
ASK = "overrides/partials/ask.html"
SCRIPT = "javascripts/symptoms.js"
FEW = 5
# Every visitor fetches the site's search whole, so it has the prose, and not what stands in blocks.
UNSEARCHED = 'data-search-exclude=""'
# MkDocs counts what this logger warns of, and a strict build fails on it.
log = logging.getLogger("mkdocs.proven")


def define_env(env: Any) -> None:
    """Register the macros: mkdocs-macros calls this once a build, Zensical once a page."""
    gc.set_threshold(100_000)  # a build makes many objects, of which hardly any wait for the collector
    env.proven = Macros(env, guide.remembered(ROOT))
    for problem in env.proven.problems:
        log.warning("%s", problem)
    for name, macro in env.proven.calls().items():
        env.macro(macro, name)


def on_pre_page_macros(env: Any) -> None:
    """Show a page's mistakes in their places: mkdocs-macros calls this before it renders a page."""
    env.markdown = env.proven.with_mistakes(env.markdown)


def on_post_page_macros(env: Any) -> None:
    """Keep a page's Markdown as its macros completed it: mkdocs-macros calls this after it has rendered a page."""
    env.proven.rendered[env.page.file.src_uri] = env.markdown


def on_post_build(env: Any) -> None:
    """Complete the site with what no page shows: mkdocs-macros calls this after a build."""
    from proven.site import publish  # which calls these macros

    publish.finish(Path(env.conf["site_dir"]), env.proven)


class Macros:
    """The macros, bound to the guide as it was read when the build began."""

    def __init__(self, env: Any, of: Guide) -> None:
        self.env = env
        self.guide = of
        self.problems = check.problems(of)
        self.sources: dict[str, list[str]] = {}
        self.rendered: dict[str, str] = {}  # of each page that was built
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
        if transcript is not False:  # "" is the name of the one that has none
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
            link = f"{self._link(PROOFS_PAGE)}#{name}"
            if runs:
                says = f"{sentence(summary.of_proof(runs))} · {summary.newest(runs)}"
                marks.append(f'[✓]({link} "{says}"){{ .proven aria-label="Proof: {in_words(name)}" }}')
            else:
                says = f"{name} has not passed since it was last edited"
                marks.append(f'[not yet proven]({link} "{says}"){{ .unproven }}')
        return "".join(marks)

    def compute(self, path: str, function: str, *args: Any, **kwargs: Any) -> str:
        """Return what a function of a Python snippet gives; rows (a list of dicts) become a table."""
        value = getattr(self._module(path), function)(*args, **kwargs)
        return self._block(table(value)) if isinstance(value, list) else str(value)

    def picture(self, name: str) -> str:
        """Show a drawing in the page itself, so that it takes the page's colours. Its <title> is its text."""
        svg = (self.guide.root / "docs" / "assets" / name).read_text(encoding="utf-8")
        line = re.sub(r">\s+<", "><", svg).strip()
        return f'<figure class="picture" {UNSEARCHED}>{line}</figure>'

    def facts(self, name: str) -> str:
        """Show a file of docs/data/ as a table: in each cell what was read, where, and on which day."""
        facts = json.loads((self.guide.root / check.FACTS / name).read_text(encoding="utf-8"))
        rows = []
        for each in facts["rows"]:
            cells = {heading: _fact(each["cells"][key]) for key, heading in facts["columns"].items()}
            rows.append({facts["about"]: f"**{each['name']}**", **cells})
        return self._block(_unsearched("facts", table(rows)))

    def proofs(self) -> str:
        """Show every proof, by the page that it proves: what it shows, what it ran on, how long it took, and when."""
        by_page: dict[str, list[Proof]] = {}
        for proof in sorted(self.guide.proofs.values(), key=lambda proof: (proof.path, proof.line)):
            by_page.setdefault(check.page_of(proof.path), []).append(proof)
        lines = []
        for page in sorted((page for page in self.guide.pages if page.path in by_page), key=self.guide.place):
            link = self._link(page.name)
            toll = self._toll(by_page[page.path])
            lines += [f"## {page.title}", "", f"[The page]({link}) · {toll}", "{ .proof }", ""]
            for proof in by_page[page.path]:
                lines += [*self._proof(proof), ""]
        return self._block(lines)

    def left_out(self) -> str:
        """Show which proofs were not run on some stack, and why, folded up by the reason."""
        runs: dict[str, list[Run]] = {}
        for run in self.guide.ledger.not_run():
            runs.setdefault(run.reason, []).append(run)
        if not runs:
            return "Nothing was left out."
        link = self._link(PROOFS_PAGE)
        lines: list[str] = []
        for reason, found in sorted(runs.items()):
            names = sorted({run.proof for run in found})
            said = f"{reason[:1].upper()}{reason[1:]}: {counted(len(names), 'proof')} on {summary.in_short(found)}"
            lines += [f'??? note "{said}"', "", *(f"    - [{in_words(name)}]({link}#{name})" for name in names), ""]
        return self._block(lines)

    def evidence(self) -> str:
        """Say in one line how much ran, on what and when."""
        runs = self.guide.ledger.passed()
        if not runs:
            return "Nothing has run yet."
        ran = f"{counted(len({run.proof for run in runs}), 'proof')}, {counted(len(runs), 'run')}"
        return f"{ran} · {summary.in_short(runs)} · {_day(runs)}"

    def symptom(self, text: str, also: bool = False) -> str:  # noqa: ARG002
        """Show the text of an error. `also` says that another page is to be read first for it."""
        return f"`{text}`"

    def sign(self, text: str, also: bool = False) -> str:  # noqa: ARG002
        """Show what a reader notices where no error is raised."""
        return text

    def ask(self) -> str:
        """Show the box into which readers paste their error; symptoms.js answers."""
        box = (self.guide.root / ASK).read_text(encoding="utf-8").strip()
        return self._block([*box.splitlines(), f'<script type="module" src="{self._up()}{SCRIPT}"></script>'])

    def symptoms(self) -> str:
        """Show every text by which a runbook is found."""
        rows = []
        for symptom in symptoms.listing(self.guide):
            links = [
                f'[{plain.bare(page.title)}]({self._link(page.name)} "{page.description}")' for page in symptom.pages
            ]
            text = f"`{symptom.text}`" if symptom.said else symptom.text
            rows.append({"What you see": text, "Runbook": links[0] + "".join(f", or {link}" for link in links[1:])})
        return self._block(_unsearched("texts", table(rows)))

    def section(self) -> str:
        """Show the pages beside this one, in the order and under the headings of the navigation, with their answers."""
        here = Path(pages.FOLDER, self._page())
        above = self.guide.navigation.get(self._page(), ())
        lines: list[str] = []
        for page in sorted(self.guide.pages, key=self.guide.place):
            path = Path(page.path)
            if path.parent == here.parent and path != here:
                headings = self.guide.navigation.get(page.name, ())
                if headings != above:
                    lines += [f"## {headings[-1]}", ""]
                    above = headings
                lines += [f"[{page.title}]({path.name})", f":   {page.description}", ""]
        return self._block(lines)

    def term(self, name: str, shown: str | None = None) -> str:
        """Show a term as a link to the glossary, with its explanation as a tooltip."""
        anchor, text = glossary.terms(self.guide).get(name, ("", "not explained yet"))
        quoted = text.replace('"', "”")
        return f'[{shown or name}]({self._link(glossary.PAGE)}#{anchor} "{quoted}"){{ .term }}'

    def measured(self, path: str, interval: bool = True) -> str:
        """Return a measured number, with its interval or without."""
        return measurements.shown(measurements.find(self.guide.root, path), interval)

    def verdict(self, path: str, more: str, less: str, same: str) -> str:
        """Return what to say where a whole interval is above "no difference", where below, and where neither."""
        return (same, more, less)[measurements.verdict(self.guide.root, path)]

    def measurements(self, path: str, *columns: str) -> str:
        """Show a table: a row for each part of what was measured, a column for each of these quantities."""
        return self._block(_unsearched("measurements", table(measurements.rows(self.guide.root, path, columns))))

    def bars(self, path: str, *paths: str, metric: str, title: str) -> str:
        """Show one quantity of each part of what was measured as bars, grouped where there are several names."""
        groups, unit = measurements.bars(self.guide.root, (path, *paths), metric)
        return _figure(charts.bars(groups, title=title, unit=unit), title)

    def lines(self, path: str, title: str, x: str, y: str) -> str:
        """Show measured curves and points over one pair of axes."""
        return _figure(charts.lines(measurements.lines(self.guide.root, path), title=title, x=x, y=y), title)

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
        columns = sorted(outcomes, key=lambda parts: [(name, summary.order(version)) for name, version in parts])
        rows: list[dict[str, Any]] = []
        for proof in [proof for proof in chosen if proof.name in met] or chosen:
            first = re.split(r"(?<=\.)\s", proof.says)[0].replace("|", "\\|")
            row = {"What was seen": f"[{in_words(proof.name)}]({self._link(PROOFS_PAGE)}#{proof.name}). {first}"}
            for column in columns:
                heading = "<br>".join(f"{name} {version}" for name, version in column)
                row[heading] = _cell(outcomes[column].get(proof.name, set()))
            rows.append(row)
        return self._block(_unsearched("matrix", table(rows)))

    def catalogue(self) -> str:
        """Show every snippet that is not empty with its digest and its proof, to be filtered, copied, downloaded."""
        listed = catalogue.manifest(self.guide)
        cards = [{**card} for card in listed["snippets"] if card["bytes"]]
        for card in cards:
            runs = self.guide.ledger.of_snippet(card["path"])
            card["how_far"] = sentence(" · ".join(summary.how_far(runs, card["path"])))
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
        return self._html(html)

    def calculator(self) -> str:
        """Show the calculator: a field for each number of its formulas, and the files into which it puts what it finds.

        All of it waits in a <template>, so that there is none without JavaScript.
        """
        fields = self._module("sizing/budget.py").FIELDS
        html = HTML.get_template("calculator.html").render(
            up=self._up(), fields=fields, files=calculated_files(self.guide.snippets)
        )
        return self._html(html)

    # ---- what mistakes give instead ----------------------------------------------------------------------

    def with_mistakes(self, markdown: str) -> str:
        """Return the Markdown of the page being rendered, with what is wrong with it in its place."""
        path = f"{pages.FOLDER}/{self._page()}" if self.problems else ""
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
        """Return the quiet line under a snippet: how far it was proven, on what, when, by what. It unfolds to all."""
        raw = f'<a href="{self._up()}{snippets.FOLDER}/{snippet.path}" download>file</a>'
        runs = self.guide.ledger.of_snippet(snippet.path)
        told = [_linked(text) for text in summary.how_far(runs, snippet.path)]
        if not told:
            return [f"Not yet proven at its present digest · {raw}", f"{{ .proof .unproven {UNSEARCHED} }}"]
        names = sorted({run.proof for run in runs})
        proof = f"[{counted(len(names), 'proof')}]({self._link(PROOFS_PAGE)}#{names[0]})"
        level = catalogue.level(runs, snippet.path)
        ran = f'<span class="ran" data-level="{level}" tabindex="0">{sentence(told[0])}{self._full(runs)}</span>'
        line = [ran, *told[1:], _day(runs), proof, raw]
        return [" · ".join(line), f"{{ .proof {UNSEARCHED} }}"]

    def _full(self, runs: list[Run]) -> str:
        """Return what unfolds from a proof line: every version, every proof."""
        stacks = [f"<b>{name}</b> {', '.join(found)}" for name, found in summary.versions(runs).items()]
        first, last = min(run.date for run in runs), summary.newest(runs)
        when = last if first == last else f"{first} to {last}"
        names = sorted({run.proof for run in runs})
        links = [f"[{in_words(name)}]({self._link(PROOFS_PAGE)}#{name})" for name in names[:FEW]]
        if len(names) > FEW:
            links.append(f"and {len(names) - FEW} more")
        toll = f"{counted(len(runs), 'run')} on {counted(len({run.stack_key for run in runs}), 'stack')}, {when}"
        return f'<span class="full">{"<br>".join([*stacks, toll, *links])}</span>'

    def _toll(self, chosen: list[Proof]) -> str:
        """Return how much of some proofs has run, and what that took."""
        runs = [run for proof in chosen for run in self.guide.ledger.of_proof(proof.name)]
        if not runs:
            return f"{counted(len(chosen), 'proof')}, none of which has run"
        took = f"{sum(run.seconds for run in runs):.1f} s"
        return f"{counted(len(chosen), 'proof')}, {counted(len(runs), 'run')}, {took} · {_day(runs)}"

    def _proof(self, proof: Proof) -> list[str]:
        """Return one proof for the page of proofs."""
        runs = self.guide.ledger.of_proof(proof.name)
        ran = "not proven at its present digest"
        if runs:
            times = [run.seconds for run in runs]
            took = f"{max(times):.2f} s" if len(times) == 1 else f"{min(times):.2f} to {max(times):.2f} s"
            on = [summary.in_full(runs)] if summary.in_full(runs) else []
            on += [_linked(text) for text in summary.compared(summary.words_of(runs))]
            ran = " · ".join([*on, f"{counted(len(runs), 'run')}, {took}", _day(runs)])
        shown = _files({path for run in runs for path in run.snippets})
        return [
            f"**{in_words(proof.name)}**{{ #{proof.name} }}",
            proof.says,
            f"<small>{ran} · `{proof.path}:{proof.line}`{shown}</small>",
            "{ .entry }",
        ]

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

    def _html(self, html: str) -> str:
        """Return HTML for the place of the call. An empty line would end the block for Markdown."""
        return self._block([line for line in html.splitlines() if line.strip()])

    def _module(self, path: str) -> Any:
        """Return a Python snippet's names. It is run once a build."""
        if path not in self.modules:
            snippet = self.guide.snippets[path]
            module = types.ModuleType(Path(path).stem)
            with snippets.beside(path, self.guide.root):
                exec(compile(snippet.text, snippet.place, "exec"), module.__dict__)  # noqa: S102
            self.modules[path] = module
        return self.modules[path]

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
        return "../" * pages.url(self._page()).count("/")


def _figure(svg: str, title: str) -> str:
    """Return a chart with its title, which is the same as that of the drawing."""
    caption = f"<figcaption>{escape(title)}</figcaption>"
    return f'<figure class="picture" {UNSEARCHED}>{svg}{caption}</figure>'


def calculated_files(known: dict[str, Snippet]) -> dict[str, str]:
    """Return the files into which the calculator puts its numbers, as they were proven."""
    ini, env = known["pgbouncer/pgbouncer.ini"], known["upstream/.env.example"]
    return {
        "pgbouncer.ini": ini.text.replace(ini.show("session"), ""),  # its pool has a size of its own
        ".env": "\n".join([env.show("database"), env.show("direct"), known["sizing/process.env"].text]),
        "postgresql.conf": known["sizing/postgresql.conf"].text,
    }


def in_words(proof: str) -> str:
    """Return a proof's name as words."""
    return proof.removeprefix("test_").replace("_", " ").capitalize()


def sentence(text: str) -> str:
    """Return a text with a capital at its beginning and every other as it is."""
    return text[:1].upper() + text[1:]


def counted(number: int, thing: str) -> str:
    """Return how many there are of a thing: "1 proof", "2 proofs"."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _column(stack: dict[str, str], components: tuple[str, ...]) -> Column | None:
    """Return the names and versions of these parts in a stack, or None where it lacks one."""
    names = [next((name for name in part.split("|") if name in stack), "") for part in components]
    return tuple((name, stack[name]) for name in names) if all(names) else None


def _order_of_names(part: str) -> tuple[str, list[int]]:
    """Return how parts of stacks are sorted: "PgBouncer 1.18.0" before "PgBouncer 1.26.1" before "PostgreSQL 15.18"."""
    name, _, version = part.rpartition(" ")
    return name.lower(), summary.order(version)


def _cell(outcomes: set[str]) -> str:
    """Return what a matrix says of one proof on one stack, of which every case counts."""
    if "failed" in outcomes:
        return "failed"
    return "✓" if "passed" in outcomes else "not run"


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


def _day(runs: list[Run]) -> str:
    """Return the day of the latest run, which no line end breaks."""
    return f"<time>{summary.newest(runs)}</time>"


def _linked(text: str) -> str:
    """Return a text with its addresses as links, which need not say https."""
    return re.sub(r"https://([^\s,]+)", r"[\1](https://\1)", text)


def _unsearched(name: str, lines: list[str]) -> list[str]:
    """Return lines as a block of this class that the site's search leaves out."""
    return [f'<div class="{name}" {UNSEARCHED} markdown>', "", *lines, "", "</div>"]


def _fact(cell: dict[str, str | None]) -> str:
    """Return a cell of what was read elsewhere; what could not be confirmed says so."""
    source = str(cell["source"])
    gist = str(cell["gist"]).replace('"', "”")
    link = f'[{urlsplit(source).hostname}]({source} "{gist}")'
    return f"{cell['says'] or '*not confirmed*'}<br><small>{link}, <time>{cell['date']}</time></small>"


def _files(paths: set[str]) -> str:
    """Return which snippets a proof ran; of the example project, that it ran."""
    named = sorted({f"{PROJECT}/" if path.startswith(f"{PROJECT}/") else path for path in paths})
    return f" · runs {', '.join(f'`{path}`' for path in named)}" if named else ""


def _fence(code: str, language: str, title: str, marked: list[int]) -> list[str]:
    """Return a fenced code block. The fence is longer than any run of backticks inside."""
    ticks = "`" * max(3, max((len(run) for run in re.findall(r"`+", code)), default=0) + 1)
    lines = f' hl_lines="{" ".join(map(str, marked))}"' if marked else ""
    return [f'{ticks}{{ .{language} title="{title}"{lines} {UNSEARCHED} }}', *code.rstrip("\n").splitlines(), ticks]
