"""One page as one reader sees it, and everything that is wrong with it."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, ViewportSize
from playwright.sync_api import TimeoutError as NotInTime

from proven import ROOT, whole
from tests.site.fonts import Font, families
from tests.site.server import Server
from tests.stack.wait import DEADLINE, until

Scheme = Literal["light", "dark"]
CHECKS = Path(__file__).with_name("checks.js")
SCREENSHOTS = ROOT / "build" / "screenshots"
DESKTOP, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=360, height=740)
# Those that are pictured for a reviewer: one of each kind.
PICTURED = ("", "404.html", "how-to/pgbouncer/", "runbooks/too-many-clients/", "reference/proofs/")
# Without JavaScript, no page would call back.
IDLE = """() => document.documentElement.matches(".no-js")
    || new Promise((done) => requestAnimationFrame(() => requestIdleCallback(done)))"""
FONT = re.compile(r"\.(woff2?|ttf|otf)\b")
PATIENCE = 15_000  # milliseconds that a label has to come into view: it glides
AXE = "axe"  # where the server has it
# The rules that ask for colours look at the place of each element on the page: they get one with few, if any.
RUN_AXE = """async (others) => {
    const colours = { "color-contrast": "[data-kind]", "link-in-text-block": "a[href][data-kind]" }
    axe.configure({ rules: Object.entries(colours).map(([id, selector]) => ({ id, selector })) })
    const off = Object.fromEntries(Object.keys(colours).map((id) => [id, { enabled: false }]))
    const broken = others ? (await axe.run({ resultTypes: ["violations"], rules: off })).violations : []
    if (document.querySelector("[data-kind]")) {
        const back = checks.showKinds()
        broken.push(...(await axe.run({ resultTypes: ["violations"], runOnly: Object.keys(colours) })).violations)
        back()
    }
    return broken.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map((node) => node.target.join(" ")) }))
}"""
# The kinds of text that it has found in order, on whichever page: a stylesheet gives all pages the same.
in_order: set[str] = set()


def pages() -> list[str]:
    """Return the address of every page, from the site's root, and that of what is not there."""
    docs = ROOT / "docs"
    names = (file.relative_to(docs).with_suffix("").as_posix() for file in docs.rglob("*.md"))
    return sorted([*("" if name == "index" else f"{name.removesuffix('/index')}/" for name in names), "404.html"])


@dataclass
class Visit:
    """A page that a browser shows, and what happened since it was asked for."""

    path: str
    scheme: Scheme
    font: Font
    page: Page
    server: Server
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    answered: int = 0
    since: int = 0
    weighed: int = 0

    def check(self, name: str) -> list[str]:
        """Return what one of the checks of checks.js finds."""
        return list(self.page.evaluate(f"checks.{name}()"))

    def read_in(self, font: Font) -> None:
        """Lay out in wide or narrow fonts what is shown, and what is loaded later."""
        # A session may set them once; what counts is what the last session has set.
        session = self.page.context.new_cdp_session(self.page)
        session.send("Page.setFontFamilies", {"fontFamilies": families(font)})

    def done(self) -> None:
        """Note that a request came to its end."""
        self.answered += 1

    def quiet(self) -> bool:
        """Return whether the page has all that it asked for, and its scripts have nothing left to do."""
        self.page.evaluate(IDLE)
        return self.answered == len(self.asked)

    def needless(self) -> list[str]:
        """Return what was asked of another host, and every font: what a reader has will do."""
        own = urlsplit(self.server.address).netloc
        elsewhere = [f"asks another host: {url}" for url in self.asked if urlsplit(url).netloc not in ("", own)]
        return [*elsewhere, *(f"asks for a font: {url}" for url in self.asked if FONT.search(url))]

    def axe(self, others: bool = True) -> list[str]:
        """Return each element that breaks a rule of axe: one of those that ask for colours, or of the others."""
        kinds: list[str] = self.page.evaluate("(known) => checks.markKinds(known)", [*in_order])
        if not kinds and not others:
            return []
        if not self.page.evaluate("Boolean(globalThis.axe)"):
            self.page.add_script_tag(url=self.server.address + AXE)
        broken: list[dict[str, Any]] = self.page.evaluate(RUN_AXE, others)
        if not broken:
            in_order.update(kinds)
        return [
            f"axe, {self.scheme}: {rule['id']} ({rule['help']}): {len(rule['nodes'])} × {', '.join(rule['nodes'][:3])}"
            for rule in broken
        ]

    def weigh(self) -> int:
        """Return how many bytes it took to show the page, the icon included that not every browser asks for."""
        icon = self.page.evaluate("document.querySelector('link[rel=icon]').href")
        if icon not in self.asked:
            self.page.evaluate("(url) => fetch(url)", icon)
        self.weighed = sum(dict(self.server.sent[self.since :]).values())
        return self.weighed

    def sent(self) -> set[str]:
        """Return the paths of everything that the page was sent."""
        return {path for path, _ in self.server.sent[self.since :]}

    def picture(self, media: str = "") -> None:
        """Write a screenshot of what is in the window, where the page is one of those that are pictured."""
        if self.path in PICTURED:
            name = self.path.strip("/").replace("/", "-") or "home"
            width = (self.page.viewport_size or {})["width"]
            whole.write(SCREENSHOTS / f"{name}-{width}-{media or self.scheme}.png", self.page.screenshot())

    def turn(self, window: ViewportSize) -> None:
        """Switch to the other colour scheme with the button at the top, and load the page anew in another window."""
        self.page.evaluate("document.querySelector('[name=__palette]:not(:checked)').click()")
        self.page.evaluate("scrollTo(0, 0)")  # where a first visit begins
        self.scheme = "dark" if self.scheme == "light" else "light"
        self.page.set_viewport_size(window)
        self.read_in(self.font)
        self.page.context.new_cdp_session(self.page).send("Network.setCacheDisabled", {"cacheDisabled": True})
        self.page.reload()
        until("everything that the page asks for", self.quiet)

    def moved(self) -> list[str]:
        """Return what moved while the page loaded, and what the largest paint waited for beside HTML and style."""
        return [*self.check("layoutShift"), *self.check("largestPaint")]

    def problems(self, others: bool = True) -> list[str]:
        """Return everything that is wrong with the page as it stands, and with whatever can be unfolded on it.

        Without the others of axe's rules where they are asked in the other scheme: they ask for no colours.
        """
        self.picture()
        self.page.evaluate("checks.unfold()")
        found = [*self.check("missingImages"), *self.layout(), *self.axe(others)]
        return [*found, *self.needless(), *self.console, *self.failed]

    def layout(self, font: Font | None = None) -> list[str]:
        """Return what is wrong with how the page is laid out: in the reader's fonts, or in others until it turns.

        Who has others has them from the beginning: what counts is what is wrong when the page is loaded in them.
        """
        if font:
            self.read_in(font)
        found = self.misplaced()
        if found and font:
            self.page.reload()
            until("everything that the page asks for", self.quiet)
            self.page.evaluate("checks.unfold()")
            found = self.misplaced()
        return [f"in {font or self.font} fonts: {problem}" for problem in found]

    def misplaced(self) -> list[str]:
        """Return what is wrong with the layout as it is now."""
        return [*self.check("tooWide"), *self.check("unreachable"), *self.check("small"), *self.hidden_tabs()]

    def hidden_tabs(self) -> list[str]:
        """Choose one tab after the other by keyboard where their labels do not all fit, until it comes round.

        Returns each label that does not come into view then: the arrow beside them is no mere shortcut to it.
        """
        hidden = []
        for chosen, tabs in self.page.evaluate("checks.scrolledTabs()"):
            self.page.focus(f"#{chosen}")
            for _ in range(tabs):
                self.page.keyboard.press("ArrowRight")
                try:
                    self.page.wait_for_function("!checks.hiddenTab()", timeout=PATIENCE)
                except NotInTime:
                    hidden.append(f"no keyboard brings into view {self.page.evaluate('checks.hiddenTab()')}")
        return hidden


Reader = Callable[..., AbstractContextManager[Visit]]
Visited = Callable[[str, Callable[[str, Reader], Visit]], None]


@contextmanager
def visit(
    browser: Browser, server: Server, path: str, scheme: Scheme = "light", font: Font = "wide", **options: Any
) -> Iterator[Visit]:
    """Visit a page for the first time: visit(browser, server, "how-to/pgbouncer/", "dark", viewport=PHONE)."""
    context = browser.new_context(color_scheme=scheme, **options)
    context.set_default_timeout(1000 * DEADLINE)
    context.add_init_script(path=CHECKS)
    page = context.new_page()
    made = Visit(path, scheme, font, page, server, since=len(server.sent))
    page.on("console", lambda said: made.console.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: made.console.append(f"console: {error}"))
    page.on("request", lambda request: made.asked.append(request.url))
    page.on("requestfinished", lambda _: made.done())
    page.on("requestfailed", lambda _: made.done())
    page.on(
        "response",
        lambda answer: made.failed.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None,
    )
    try:
        made.read_in(font)
        page.goto(server.address + path)
        if options.get("java_script_enabled") is False:  # the checks come from outside, and run all the same
            page.evaluate(CHECKS.read_text(encoding="utf-8"))
        until("everything that the page asks for", made.quiet)
        yield made
    finally:
        context.close()


def refuse(visit: Visit, problems: list[str]) -> None:
    """Fail the test where there is anything wrong with a page, and say all of it, once."""
    if problems:
        pytest.fail("\n".join([f"/{visit.path}:", *dict.fromkeys(problems)]), pytrace=False)
