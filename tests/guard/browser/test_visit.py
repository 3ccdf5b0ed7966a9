"""Everything that a browser must find wrong with a page, planted on a real one."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.site import chromium
from tests.site.server import Server
from tests.site.test_pages import CLIPBOARD, shown, too_heavy, uncopied
from tests.site.test_use import walk
from tests.site.visit import PHONE, Reader, visit

PAGE = "runbooks/too-many-clients/"  # it has code, in which a prompt is planted, and a table
PROMPT = "<code>$ "
TABS = "how-to/pgbouncer/"  # its labels are wider than a phone where fonts are wide
ONE_LINE = '<p style="white-space: nowrap">Planted in one line, which is fifty letters long</p>'
MISTAKES = """
<img src="https://elsewhere.invalid/planted.png" alt="Planted">
<img src="planted.png" alt="Planted">
<p style="color: #999; background: #fff">Planted in grey</p>
<p>Planted without a mark: <a href="#planted" style="color: #334; text-decoration: none">a link</a> in a text.</p>
<p style="width: 2000px">Planted and wide</p>
<figure class="picture"><svg viewBox="0 0 480 20"><text class="small" y="14">Planted and small</text></svg></figure>
<style>@font-face { font-family: planted; src: url(planted.woff2) }</style>
<p style="font-family: planted">Planted in a font</p>
<a href="#planted" tabindex="-1">Planted out of reach</a>
<p style="display: none" class="planted">Planted and hidden</p>
<pre style="overflow-x: auto"><code style="display: block; width: 900px">Planted and cut off</code></pre>
<script>console.error("planted error")</script>
<script src="planted.js" defer></script>
"""
LATE = """
const late = document.createElement("p")
late.style = "font-size: 60px"
late.textContent = "Planted by a script, larger than all else, and so late that it moves what was there before."
document.querySelector("article").prepend(late)
"""
FOUND = (
    "asks another host: https://elsewhere.invalid/planted.png",
    "asks for a font: http",
    "article.md-content__inner > img http://127.0.0.1",
    "404: http",
    "console: planted error",
    "in wide fonts: scrolls sideways: ",
    "in narrow fonts: scrolls sideways: ",
    'p "Planted and wide"',
    'px high: article.md-content__inner > figure.picture > svg > text.small "Planted and small"',
    "axe, light: color-contrast",
    "axe, light: link-in-text-block",
    'no keyboard reaches div.md-main__inner > div.md-content > article.md-content__inner > a "Planted out of reach"',
    "content moves by ",
    "the largest paint waits for JavaScript: ",
)
FOUND_PLAIN = (
    'article.md-content__inner > p.planted "Planted and hidden"',
    "is cut off at ",
)


@pytest.fixture(scope="module")
def planted(site: Path, host: Server, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The page with every mistake on it, as a reader visits it."""
    folder = tmp_path_factory.mktemp("planted")
    text = (site / PAGE / "index.html").read_text(encoding="utf-8")
    text = text.replace("</article>", f"{MISTAKES}</article>").replace("<code>", PROMPT)
    (folder / "page.html").write_text(text, encoding="utf-8")
    (folder / "planted.js").write_text(LATE, encoding="utf-8")
    made = Server(site, beside={**host.beside, PAGE: folder / "page.html", f"{PAGE}planted.js": folder / "planted.js"})
    yield partial(visit, browser, made, PAGE)
    made.close()


@pytest.fixture(scope="module")
def found(planted: Reader) -> list[str]:
    """What is found wrong with it."""
    with planted(viewport=PHONE) as visit:
        return [*visit.moved(), *visit.problems(), *visit.layout("narrow")]


@pytest.mark.parametrize("sentence", FOUND)
def test_each_mistake_is_found_and_named(sentence: str, found: list[str]) -> None:
    """One visit finds them all."""
    assert [problem for problem in found if sentence in problem], "\n".join(found)


def test_what_has_no_contrast_is_found_again(planted: Reader) -> None:
    """axe is asked once about a kind of text that is in order, and each time about one that is not."""
    with planted(viewport=PHONE) as visit:
        looks = [visit.axe(others=False) for _ in range(2)]
    assert [any("color-contrast" in problem for problem in found) for found in looks] == [True, True]


def test_what_nobody_reads_without_javascript_or_on_paper_is_found(
    planted: Reader,
) -> None:
    """Hidden text, and code that paper cuts off."""
    with planted(viewport=PHONE, java_script_enabled=False) as visit:
        visit.page.emulate_media(media="print")
        problems = [*visit.check("unread"), *visit.check("unprinted")]
    for sentence in FOUND_PLAIN:
        assert [problem for problem in problems if sentence in problem], "\n".join(problems)


def test_what_fits_in_narrow_fonts_alone_is_found(reader: Reader) -> None:
    """Only their width differs."""
    with reader(PAGE, viewport=PHONE) as visit:
        visit.page.evaluate(
            "(html) => document.querySelector('article').insertAdjacentHTML('beforeend', html)", ONE_LINE
        )
        (wide,) = visit.layout()
        assert wide.startswith("in wide fonts: scrolls sideways: ")
        assert "Planted in one line" in wide
        assert visit.layout("narrow") == []


def test_in_other_fonts_what_counts_is_the_page_as_it_is_loaded(reader: Reader) -> None:
    """What is there since alone, as where a script has not yet seen that the fonts are others, is no reader's."""
    with reader(PAGE, viewport=PHONE) as visit:
        visit.page.evaluate("document.querySelector('article').style.width = '2000px'")
        assert visit.layout() != []
        assert visit.layout("narrow") == []


def test_an_arrow_that_leads_to_what_no_keyboard_reaches_is_found(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a shortcut only where the labels that it scrolls are reached, and come into view."""
    with reader(TABS, viewport=PHONE) as visit:
        assert visit.page.is_visible(".tabbed-button")
        assert visit.layout() == []
        visit.page.evaluate("Element.prototype.scrollTo = () => {}")
        monkeypatch.setattr("tests.site.visit.PATIENCE", 1000)  # none comes
        (hidden,) = visit.layout()
        assert hidden.startswith("in wide fonts: no keyboard brings into view ")
        assert "Cloud Run" in hidden
        visit.page.evaluate("for (const tab of document.querySelectorAll('.tabbed-set > input')) tab.tabIndex = -1")
        assert [problem for problem in visit.layout() if "no keyboard reaches " in problem and "button" in problem]


def test_a_prompt_in_a_copy_is_found(planted: Reader) -> None:
    """The clipboard has more than the file."""
    with planted(permissions=CLIPBOARD) as visit:
        first, *_ = uncopied(visit, shown())
    assert first.startswith("copies what is in no snippet: '$ ")


def test_what_loses_the_focus_before_it_is_seen_is_no_place_for_it(planted: Reader) -> None:
    """As a button that the theme's script takes away, on a machine on which that is late."""
    with planted(viewport=PHONE) as visit:
        stop = visit.page.evaluate("""() => {
            const top = document.querySelector(".md-top")
            top.removeAttribute("tabindex")
            top.focus()
            setTimeout(() => top.blur(), 100)
            return checks.stop()
        }""")
        assert stop == {"again": False, "unseen": ""}


def test_an_element_that_the_tab_key_passes_by_is_found(planted: Reader) -> None:
    """And one that takes the focus where nobody sees it."""
    with planted(viewport=PHONE) as visit:
        visit.page.evaluate("document.querySelector('[aria-label=Menu]').style = 'opacity: 0'")
        problems = walk(visit, 12)
        assert [problem for problem in problems if "the focus is not seen: " in problem and "button" in problem]
        assert [problem for problem in problems if "the Tab key passes by " in problem and ".md-footer" in problem]


def test_a_heavy_page_is_found() -> None:
    """The home page has a lower bar."""
    assert too_heavy("", 121_000) == ["weighs 121 KB, more than 120"]
    assert too_heavy(PAGE, 121_000) == []
    assert too_heavy(PAGE, 181_000) == ["weighs 181 KB, more than 180"]


def test_no_browser_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROVEN_CHROMIUM", raising=False)
    with pytest.raises(RuntimeError, match=r"^no browser for the pages: install chromium or google-chrome \("):
        chromium.find()
    monkeypatch.setenv("PROVEN_CHROMIUM", "/nowhere")
    with pytest.raises(RuntimeError, match=r"^PROVEN_CHROMIUM names no program: /nowhere$"):
        chromium.find()
