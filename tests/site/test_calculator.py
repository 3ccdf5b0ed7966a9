"""The calculator in a browser: it computes what the Python functions do, and is used by everybody."""

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import ViewportSize

from proven import ROOT
from proven.evidence import running
from proven.sources import snippets
from tests.site.visit import DESKTOP, PHONE, Reader, Scheme, Visit, Visited, refuse
from tests.stack.scripts import execute

PAGE = "reference/calculator/"
SCRIPT = ROOT / "docs/javascripts/calculator.js"
MOST = 13_000  # bytes
INPUTS = 2_000
# What the browser makes of everything that is typed: what is wrong with it, else the plan and the files.
# Of files their digest: all of them would be megabytes.
COMPUTED = """async (typed) => {
    const { fields, refusals, numbers, plan, settings, fill } = calculator
    const digest = async (text) => {
        const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))
        return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
    }
    const computed = await Promise.all(JSON.parse(typed).map(async (texts) => {
        const refused = refusals(texts, fields)
        if (Object.keys(refused).length) return { refused }
        const given = numbers(texts)
        const files = Object.entries(settings(given)).map(([name, values]) => [name, fill(bases[name], values)])
        return { refused, plan: plan(given), files: await digest(JSON.stringify(files)) }
    }))
    const strange = (value) => typeof value === "number" && !isFinite(value)
    return JSON.stringify(computed, (_, value) => (strange(value) ? String(value) : value))
}"""
# What all fields say of themselves after each of these is typed, and what stands beside them.
COMPLAINTS = """(typed) => {
    const inputs = [...document.querySelectorAll("#calculator-form input")]
    const described = (input) => input.getAttribute("aria-describedby").replace(/(\\S+)/g, "#$1").replace(" ", ",")
    const wrong = (input) => document.querySelector(`:is(${described(input)})[aria-live]`).textContent
    return typed.map(([name, value]) => {
        for (const input of inputs.filter((input) => input.name === name)) {
            input.value = value
            input.dispatchEvent(new InputEvent("input", { bubbles: true }))
        }
        const complaints = inputs.map((input) => [input.name, input.getAttribute("aria-invalid"), wrong(input)])
        const text = document.getElementById("calculator-place").innerText
        const verdict = document.getElementById("calculator-verdict").innerText
        return { complaints, text, verdict, found: checks.visible(document.getElementById("calculator-found")) }
    })
}"""
NONSENSE = (
    "",
    " ",
    "-1",
    "many",
    "1e3",
    "1,5",
    "0x10",
    "+5",
    "5.",
    "0000000005",
    ".5",
    "NaN",
    "Infinity",
    "\u0663",
    "\u00a05",
    "9" * 30,
)
SIGNS = {"×": "*", "÷": "/", "\N{MINUS SIGN}": "-", "⌈": "ceil(", "⌉": ")"}
ODD = ("007", " 3 ", "2.50", "0.125", "0", "1")  # which are numbers, though not all of them whole
TIGHT, TOO_MANY = "?replicas=0&max_connections=25", "?replicas=0&max_connections=20"


@pytest.fixture(scope="module")
def budget() -> SimpleNamespace:
    """The Python functions. What takes long in them they compute once for each load: files need the plan again."""
    found = execute(snippets.read("sizing/budget.py"))
    for name in ("servers_needed", "mmc_wait_percentile"):
        found[name] = cache(found[name])
    return SimpleNamespace(**found)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Whatever a snippet ran for here, it proves nothing."""
    yield
    running.begin()


@pytest.fixture(scope="module")
def unscripted(reader: Reader) -> Iterator[Visit]:
    """The page without JavaScript."""
    with reader(PAGE, java_script_enabled=False) as visit:
        yield visit


@pytest.fixture(scope="module")
def bases(unscripted: Visit) -> dict[str, str]:
    """The files as they are before a number is put in."""
    files = unscripted.page.evaluate(
        "[...document.querySelector('#calculator-place template').content.querySelectorAll('[data-file]')]"
        ".map((file) => [file.dataset.file, file.querySelector('samp').textContent])"
    )
    return dict(files)


@pytest.fixture(scope="module")
def opened(reader: Reader) -> Iterator[Visit]:
    """The page, on which one test goes on where another ended: to open it takes longer than most that is done on it."""
    with reader(PAGE, viewport=DESKTOP, permissions=["clipboard-read", "clipboard-write"]) as visit:
        yield visit


@pytest.fixture
def visit(opened: Visit) -> Visit:
    """The same, with the form as it was at first."""
    opened.page.click("#calculator-form [type=reset]")
    opened.page.wait_for_function("location.search === ''")
    return opened


def deployments(budget: SimpleNamespace, count: int, seed: int) -> list[dict[str, str]]:
    """Return what may be typed: any number in a field's limits, small ones as often as large ones, and the limits."""
    chance = random.Random(seed)

    def within(low: float, high: float) -> float:
        return math.exp(chance.uniform(0, math.log(high - low + 1))) - 1 + low

    found = []
    for _ in range(count):
        typed = {}
        for name, field in budget.FIELDS.items():
            number = chance.choice((within(field.lowest, field.highest), field.default))
            number = chance.choice((number,) * 20 + (field.lowest, field.highest))
            typed[name] = str(int(number)) if field.whole else f"{number:.{chance.randint(0, 9)}f}"
        found.append(typed)
    return found


def edges(budget: SimpleNamespace, typed: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return each deployment with the max_connections between which the bands change, which chance seldom finds."""
    found = []
    for texts in typed:
        given = {} if budget.refusals(texts) else budget.numbers(texts)
        plan = budget.plan(given) if given else {"least": None}
        if plan["least"] is not None:
            full = plan["opened"] + given["max_connections"] - plan["usable"]
            for slots in {plan["least"], plan["least"] - 1, full, full - 1}:
                found.append({**texts, "max_connections": str(slots)})
    return found


def python(budget: SimpleNamespace, bases: dict[str, str], typed: dict[str, str]) -> dict[str, Any]:
    """Return what the Python functions make of what is typed."""
    refused = budget.refusals(typed)
    if refused:
        return {"refused": refused}
    given = budget.numbers(typed)
    files = [[name, budget.fill(bases[name], values)] for name, values in budget.settings(given).items()]
    digest = hashlib.sha256(json.dumps(files, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
    return {"refused": refused, "plan": budget.plan(given), "files": digest}


def differs(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return in what two answers differ: integers and texts exactly, others by more than one part in 10⁹."""
    found = [name for name in ("refused", "files") if one.get(name) != other.get(name)]
    plan, same = one.get("plan", {}), other.get("plan", {})
    found += sorted(plan.keys() ^ same.keys())
    for name in plan.keys() & same.keys():
        # JSON has no number for what is infinite.
        inexact = isinstance(plan[name], float) and math.isclose(plan[name], float(same[name]), rel_tol=1e-9)
        found += [] if inexact or plan[name] == same[name] else [name]
    return found


def compare(visit: Visit, budget: SimpleNamespace, bases: dict[str, str], typed: list[dict[str, str]]) -> int:
    """Fail for the first of these on which the two disagree; return how many of them are not refused."""
    visit.page.evaluate("(bases) => { globalThis.bases = bases }", bases)
    answers = json.loads(visit.page.evaluate(COMPUTED, json.dumps(typed)))
    accepted = 0
    for texts, answer in zip(typed, answers, strict=True):
        expected = python(budget, bases, texts)
        wrong = differs(expected, answer)
        assert not wrong, f"{wrong} of ?{urlencode(texts)}:\nPython  {expected}\nbrowser {answer}"
        accepted += "plan" in expected
    return accepted


# ---- the same as Python --------------------------------------------------------------------------------------


def test_the_browser_computes_what_python_does(opened: Visit, budget: SimpleNamespace, bases: dict[str, str]) -> None:
    """On thousands of deployments of every size, and on edges: each number, and each file to the byte."""
    accepted = seed = 0
    while accepted < INPUTS:
        accepted += compare(opened, budget, bases, deployments(budget, 1000, seed))
        seed += 1
    compare(opened, budget, bases, edges(budget, deployments(budget, 1000, seed)))


def test_the_browser_refuses_what_python_does(opened: Visit, budget: SimpleNamespace, bases: dict[str, str]) -> None:
    """With the same words, in whichever fields nonsense stands, and nothing else is refused."""
    chance = random.Random(7)
    typed = deployments(budget, 1000, seed=7)
    for texts in typed:
        for name in chance.sample(list(texts), chance.randint(1, 4)):
            texts[name] = chance.choice((*NONSENSE, *ODD))
    assert 0 < compare(opened, budget, bases, typed) < len(typed)


def test_the_formulas_on_the_page_add_up(opened: Visit, budget: SimpleNamespace) -> None:
    """Each sum that is shown, computed from the numbers in it, gives what stands behind its sign of equality."""
    typed = [texts for texts in deployments(budget, 300, seed=11) if not budget.refusals(texts)]
    shown = opened.page.evaluate(
        "(typed) => typed.map(calculator.numbers).map((given) => calculator.sums(given, calculator.plan(given)))",
        typed,
    )
    added = 0
    for sums in shown:
        for name, text in sums.items():
            formula, equals, result = text.partition(" = ")
            if equals and "PostgreSQL" not in result:
                for sign, code in SIGNS.items():
                    formula = formula.replace(sign, code)
                value = eval(formula, {"ceil": math.ceil})  # noqa: S307
                assert math.isclose(value, float(result), rel_tol=1e-5), f"{name}: {text}"
                added += 1
    assert added > len(typed) * 5


# ---- as it is used -------------------------------------------------------------------------------------------


def shown(visit: Visit, name: str) -> str:
    """Return what a cell of the result says."""
    return visit.page.inner_text(f"[data-shows={name}]")


def verdict(visit: Visit) -> str:
    """Return the result in a sentence."""
    return visit.page.inner_text("#calculator-verdict")


def test_it_begins_with_the_example_project(opened: Visit, budget: SimpleNamespace) -> None:
    """The form has every field with its default, and the result of that, both ways round."""
    opened.page.goto(opened.server.address + PAGE)
    values = opened.page.evaluate(
        "[...document.querySelectorAll('#calculator-form input')].map((i) => [i.name, i.value])"
    )
    assert dict(values) == {name: str(field.default) for name, field in budget.FIELDS.items()}
    found = budget.plan(budget.defaults())
    assert (
        verdict(opened) == f"Fits: {found['opened']} of {found['usable']} usable slots are taken at the worst moment."
    )
    for name in ("opened", "everyone", "least", "needed", "most_instances", "most_threads", "largest_pool"):
        assert shown(opened, name) == str(found[name])


def test_what_is_typed_is_answered_at_once_both_ways_round(visit: Visit, budget: SimpleNamespace) -> None:
    """More instances open more; of fewer max_connections fewer may be run."""
    for changed in ({"replicas": 0}, {"instances": 9}, {"max_connections": 30}, {"instances": 1}):
        for name, value in changed.items():
            visit.page.fill(f"[name={name}]", str(value))
    found = budget.plan(budget.defaults(replicas=0, max_connections=30))
    assert [shown(visit, name) for name in ("opened", "usable", "most_instances")] == ["19", "27", "1"]
    assert found["most_instances"] == 1
    visit.page.fill("[name=max_connections]", "5")
    assert shown(visit, "most_instances") == shown(visit, "most_threads") == "0"


def test_a_shared_address_restores_everything(visit: Visit, reader: Reader) -> None:
    """What differs from the defaults is in the address, and whoever opens that sees the same; nothing else is kept."""
    for name, value in {"instances": "12", "surge": "25", "db_ms": "7.5", "pool_size": "9", "threads": "4"}.items():
        visit.page.fill(f"[name={name}]", value)
    page, address = visit.page.inner_text("article"), visit.page.url
    query = dict(parse_qsl(urlsplit(address).query))
    assert query == {"instances": "12", "surge": "25", "db_ms": "7.5", "pool_size": "9"}
    with reader(f"{PAGE}?{urlencode(query)}&unheard=of") as other:
        assert other.page.inner_text("article") == page
        assert other.page.input_value("[name=instances]") == "12"
    visit.page.click("#calculator-form [type=reset]")
    visit.page.wait_for_function("location.search === ''")
    assert shown(visit, "opened") == "5"


def test_nonsense_gets_one_message_at_its_field(visit: Visit, budget: SimpleNamespace) -> None:
    """In the form as in an address; the field says that it is wrong and is described by the message. Never NaN."""
    for name, field in budget.FIELDS.items():
        *refused, mended = typed(visit, *((name, text) for text in ("", "-1", "many", "9" * 30, str(field.default))))
        for answer in refused:
            assert complaints(answer) == {name: field.wants()}
            assert "No result yet" in answer["verdict"]
            assert not answer["found"]
        assert complaints(mended) == {}
        assert mended["found"]
    visit.page.goto(f"{visit.server.address}{PAGE}?threads=%3Cb%3Emany&rate=&reserved=99")
    (answer,) = typed(visit, ("", ""))
    assert complaints(answer) == {name: budget.FIELDS[name].wants() for name in ("threads", "rate")}
    assert visit.page.input_value("[name=threads]") == "<b>many"
    *_, answer = typed(visit, ("threads", "4"), ("rate", "1"))
    assert complaints(answer) == {"max_connections": "Enter more than the 102 reserved slots."}


def typed(visit: Visit, *entries: tuple[str, str]) -> list[dict[str, Any]]:
    """Type each text into the field of its name, and return what the form says after each."""
    return visit.page.evaluate(COMPLAINTS, entries)


def complaints(answer: dict[str, Any]) -> dict[str, str]:
    """Return what each field that is marked as wrong is described by."""
    assert not re.search(r"NaN|undefined|Infinity|null", answer["text"])
    said = {name: text for name, _, text in answer["complaints"] if text}
    assert said.keys() == {name for name, invalid, _ in answer["complaints"] if invalid == "true"}
    return said


def test_a_wait_without_end_is_said_in_words(visit: Visit) -> None:
    """A pool that is always busy falls behind for ever; without a pool nobody waits; PostgreSQL has its limits."""
    visit.page.fill("[name=pool_size]", "1")
    visit.page.fill("[name=rate]", "100")
    assert shown(visit, "wait") == "without end"
    visit.page.fill("[name=replicas]", "0")
    assert shown(visit, "wait") == "none: each thread has its own"
    visit.page.fill("[name=instances]", "10000")
    visit.page.fill("[name=processes]", "1000")
    assert shown(visit, "least") == "more than PostgreSQL takes"
    assert not visit.page.is_visible("[data-file='postgresql.conf']")


def test_it_is_used_by_keyboard_alone(visit: Visit, bases: dict[str, str]) -> None:
    """The Tab key stops at each field, button and file in their order, and Enter copies each file and the address."""
    stops = visit.page.locator("#calculator-place :is(input, button, samp)")
    stops.first.focus()
    for stop in stops.all():
        assert stop.evaluate("(stop) => stop === document.activeElement && checks.visible(stop)"), stop
        visit.page.keyboard.press("Tab")
    visit.page.focus("[name=threads]")
    visit.page.keyboard.press("End")
    visit.page.keyboard.type("0")
    for name, base in bases.items():
        visit.page.press(f"[data-file='{name}'] button", "Enter")
        visit.page.wait_for_function(f"document.getElementById('calculator-said').textContent === 'Copied {name}'")
        text = visit.page.evaluate("navigator.clipboard.readText()")
        assert text == visit.page.text_content(f"[data-file='{name}'] samp")
        assert text != base or name == "postgresql.conf"
    visit.page.press("[data-copies=link]", "Enter")
    visit.page.wait_for_function("document.getElementById('calculator-said').textContent === 'Copied the link'")
    assert visit.page.evaluate("navigator.clipboard.readText()").endswith("?threads=40")


def test_it_prints(reader: Reader) -> None:
    """The fields with their numbers, the result and whole files; nothing to press."""
    with reader(f"{PAGE}?instances=12", viewport={"width": 700, "height": 1000}) as visit:
        visit.page.emulate_media(media="print")
        problems = [problem for problem in visit.check("unread") if " > button " not in problem]
        problems += visit.check("unprinted")
        assert visit.page.input_value("[name=instances]") == "12"
        assert visit.page.is_visible("[name=instances]")
        assert not any(button.is_visible() for button in visit.page.locator("#calculator-place button").all())
        assert visit.page.pdf().startswith(b"%PDF")
    refuse(visit, problems)


@pytest.mark.parametrize(
    ("query", "says", "scheme", "window"),
    [
        (TIGHT, "Tight: ", "light", PHONE),
        (TOO_MANY, "Too many: ", "dark", DESKTOP),
        ("?threads=many&rate=-1", "No result yet. ", "light", PHONE),
    ],
    ids=["tight", "too many", "nonsense"],
)
def test_each_verdict_is_said_and_breaks_no_rule(
    query: str, says: str, scheme: Scheme, window: ViewportSize, visited: Visited
) -> None:
    """Nor does anything move while it loads. What fits is seen with every page, in the other scheme and widths."""

    def read(page: str, reader: Reader) -> Visit:
        with reader(page, scheme, viewport=window) as visit:
            assert verdict(visit).startswith(says)
            problems = [*visit.moved(), *visit.problems()]
            visit.turn(window)
            problems += [*visit.moved(), *visit.problems()]
        refuse(visit, problems)
        return visit

    visited(PAGE + query, read)


def test_without_javascript_there_are_the_formulas_and_worked_deployments(
    unscripted: Visit, budget: SimpleNamespace
) -> None:
    """And no form that nothing answers."""
    assert unscripted.page.locator("article :is(form, input, button)").count() == 0
    text = unscripted.page.inner_text("article")
    assert "def plan(" in text
    assert all(name in text for name in budget.WORKED)


def test_the_script_is_small_and_loaded_where_it_is_used(site: Path) -> None:
    """No more than 12 kB as a reader's browser gets it, with its style, on one page."""
    assert SCRIPT.stat().st_size <= MOST
    for file in ("javascripts/calculator.js", "stylesheets/calculator.css"):
        loading = [page for page in site.rglob("*.html") if file in page.read_text(encoding="utf-8")]
        assert loading == [site / PAGE / "index.html"]
    assert "import" not in re.sub(r"//.*", "", SCRIPT.read_text(encoding="utf-8"))
