"""The rules of the audit on its page: each that there is, once, and each leads to a page."""

from pathlib import Path

from tests.guard.project import PAGE, problems

AUDIT = '''\
"""Find it."""

from typing import NamedTuple


class Rule(NamedTuple):
    sure: str
    breaks: str
    instead: str
    page: str


RULES = {
    "listen": Rule("sure", "it hears nothing", "connect", "case/"),
    "lock": Rule("sure", "two can hold it", "connect", "nowhere/"),
}
'''


def test_each_rule_is_shown_once_and_leads_to_a_page(tmp_path: Path) -> None:
    """With its nearest name, the page that is not there, and the proof that is not, or that nobody names."""
    page = "# Rules\n\n{{ rule('listn', belief='b') }}\n\n{{ rule('lock', 'test_nothing', belief='b') }}\n"
    said = problems(tmp_path, {"snippets/audit/audit.py": AUDIT, PAGE: page})
    assert [line for line in said if line.startswith(PAGE)] == [
        f"{PAGE}:3: no proof says that the rule is right: "
        'name one, as in rule("listen", "test_function_name", belief=…)',
        f"{PAGE}:3: the audit has no rule 'listn'; did you mean listen?",
        f"{PAGE}:3: the rule 'listen' of snippets/audit/audit.py is not shown",
        f"{PAGE}:5: no proof is called 'test_nothing'; did you mean test_answer?",
        f"{PAGE}:5: snippets/audit/audit.py leads from 'lock' to nowhere.md, which is no page",
    ]
