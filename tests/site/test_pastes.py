"""What people paste, as a whole: each leads to the runbook with its answer, or to the question which of several."""

import json
from typing import Any

import pytest
import yaml

from atlas import translated
from proven import ROOT
from proven.guide import Guide
from proven.macros import errors
from tests.site.visit import Reader

PASTES = yaml.load((ROOT / "tests/site/pastes.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
ASKED = """async ({ pastes, symptoms, foreign }) => {
    const { find, vague, words } = await import(new URL("javascripts/match.js", location))
    const first = (paste) => {
        const hits = find(paste, symptoms)
        return (vague(hits) ? find(paste, [...symptoms, ...foreign]) : hits)[0]
    }
    return pastes.map((paste) => ({ found: first(paste)?.symptom.causes ?? [], sought: words(paste) }))
}"""
LARGE = 1_000_000  # characters: a log that somebody pastes as a whole


@pytest.fixture(scope="module")
def answers(reader: Reader, the_guide: Guide) -> dict[str, Any]:
    """What the pages' own script says of each paste: the causes of the first text, and the words of a search."""
    symptoms = [
        {
            "text": each.text,
            "causes": [{"page": cause.page.name, "sign": cause.when} for cause in each.causes]
            or [{"page": "", "sign": "", "answer": each.told["says"]}],
        }
        for each in errors.listing(the_guide)
        if each.said
    ]
    causes = {each["text"]: each["causes"] for each in symptoms}
    spoken = json.loads(translated.LIST.read_text(encoding="utf-8"))["texts"]
    foreign = [{"text": each["text"], "causes": causes[each["row"]]} for each in spoken]
    pastes = [*(each["paste"] for each in [*PASTES["known"], *PASTES["told"]]), *PASTES["unknown"]]
    with reader("robots.txt") as visit:
        large = "a line of a log that nobody asked for, with connection and error in it 123\n" * (LARGE // 75)
        given = {"pastes": [*pastes, large + "FATAL:  query_wait_timeout\n"], "symptoms": symptoms, "foreign": foreign}
        found = visit.page.evaluate(ASKED, given)
    assert found.pop()["found"], "a paste of 1 MB is answered as well"
    return dict(zip(pastes, found, strict=True))


@pytest.mark.parametrize("each", PASTES["known"], ids=lambda each: each["leads"])
def test_a_paste_leads_to_the_page_with_its_answer(each: dict[str, Any], answers: dict[str, Any]) -> None:
    """And is asked for its sign where its text has several causes."""
    causes = answers[each["paste"]]["found"]
    page = each["leads"] if "/" in each["leads"] else f"runbooks/{each['leads']}"
    assert [cause["page"] for cause in causes][:1] == [f"{page}.md"], each["paste"]
    asked = [cause["sign"] for cause in causes if len(causes) > 1]
    for sign in each.get("asks", ()):
        assert [one for one in asked if sign in one], f"the box asks {asked}, and nothing of {sign!r}"


@pytest.mark.parametrize("each", PASTES["told"], ids=lambda each: each["says"])
def test_a_paste_without_a_page_has_its_sentence(each: dict[str, Any], answers: dict[str, Any]) -> None:
    """The one of its row in *Every error*."""
    (cause,) = answers[each["paste"]]["found"]
    assert each["says"] in cause.get("answer", ""), cause


@pytest.mark.parametrize("paste", PASTES["unknown"])
def test_what_nobody_explains_leads_to_a_search(paste: str, answers: dict[str, Any]) -> None:
    """Never an empty one, and never one made of a line's marks."""
    assert answers[paste]["found"] == []
    assert [word for word in answers[paste]["sought"].split() if word.isalpha()]
