"""Each term is explained once, and used."""

from pathlib import Path

from tests.guard.project import problems

TERM = "*answer*{ #answer }\n:   What is *known*, and [shown](../index.md).\n"


def test_a_term_is_explained_and_used(tmp_path: Path) -> None:
    """What the glossary does not explain, or explains for nobody, is refused."""
    glossary = "docs/reference/glossary.md"
    used = 'The {{ term("answer", "answers") }}.\n'
    assert problems(tmp_path, {glossary: TERM, "docs/a.md": used}) == []
    (found,) = problems(tmp_path, {glossary: TERM, "docs/a.md": "The answer.\n"})
    assert found == f"{glossary}:1: no page uses 'answer': call {{{{ term(…) }}}}, or delete it"
    (found,) = problems(tmp_path, {glossary: TERM, "docs/a.md": used + 'An {{ term("anwser") }}.\n'})
    assert found == "docs/a.md:2: the glossary does not explain 'anwser'; did you mean answer?"
