"""The search by error text: whatever a reader pastes leads to the runbook that explains it, or is said to be unknown.

The script that the pages load is the one that is asked here.
"""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from proven import ROOT
from proven.guide import Guide
from proven.macros import calls, errors
from proven.sources import snippets
from tests.site.visit import Reader

Ask = Callable[..., list[list[str]]]

SILENT = ("fork.out",)  # what went wrong raised no error
RUNBOOKS, EVERY = "docs/runbooks/", "docs/reference/every-error.md"
ASKED = """async ({ pasted, symptoms }) => {
    const { find } = await import(new URL("javascripts/match.js", location))
    const pages = (text) => find(text, symptoms).flatMap(({ symptom }) => symptom.causes.map(({ page }) => page))
    return pasted.map((text) => [...new Set(pages(text))])
}"""
# As PostgreSQL, PgBouncer, the drivers, Python and the tools that show logs say it around an error's own words.
SURROUNDINGS: dict[str, Callable[[str], str]] = {
    "alone": lambda text: text,
    "in capitals": str.upper,
    "in psycopg's words": lambda text: (
        f'connection failed: connection to server at "127.0.0.1", port 6432 failed: FATAL:  {text}'
    ),
    "in PgBouncer's log": lambda text: (
        f"2026-11-22 19:09:01.123 UTC [4711] LOG C-0x55d0c8: shop/web@10.0.0.7:5123 closing because: {text} (age=5s)"
    ),
    "in PostgreSQL's log": lambda text: f"2026-11-22 19:09:01 UTC [99]: [3-1] user=upstream,db=shop FATAL:  {text}",
    "in a traceback": lambda text: (
        "Traceback (most recent call last):\n"
        '  File "/srv/app/orders/views.py", line 12, in orders\n    return list(Order.objects.all())\n'
        "psycopg.errors.OperationalError: " + text + "\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        f"django.db.utils.OperationalError: {text}\n"
    ),
    "in a line of JSON": lambda text: json.dumps({"level": "error", "message": f"FATAL: {text}\nDETAIL: none"}),
    "in red": lambda text: f"\x1b[1;31mFATAL\x1b[0m:  \x1b[31m{text[:9]}\x1b[0m{text[9:]}",
    "in red, as a log shows it": lambda text: f"^[[1;31mFATAL:^[[0m {text[:9]}^[[0m{text[9:]}",
    "broken by a terminal": lambda text: "\n".join(re.findall(".{1,17}", f"FATAL:  {text}")),
    "from Docker Compose": lambda text: f"web-1  | FATAL:  {text}\nweb-1  | \ndb-1   | LOG:  checkpoint starting: time",
    "in a frame": lambda text: f"╭─ Traceback ─╮\n│ FATAL:  {text[:9]} │\n│ {text[9:]} │\n╰─────────────╯",
    "with Windows' line ends": lambda text: f"Traceback:\r\nFATAL:  {text}\r\n",
}
NAMED = re.compile(r"\w+Error")  # an exception that has no message, and so stands in none
# What proofs of runbooks expect to hear, beside the transcripts.
HEARD = {
    "too-many-clients": (
        "FATAL:  remaining connection slots are reserved for roles with privileges of the "
        '"pg_use_reserved_connections" role',
        "FATAL:  sorry, too many clients already",
    ),
    "server-closed-the-connection": (
        "psycopg.errors.IdleInTransactionSessionTimeout: terminating connection due to idle-in-transaction timeout",
        "consuming input failed: server closed the connection unexpectedly",
    ),
    "pgbouncer-login-failed": (
        "SASL authentication failed",
        "no such database: elsewhere",
        "server login failed: wrong password type",
        'password authentication failed for user "proof_17"',
        "bouncer config error",
    ),
    "pgbouncer-server-login-retry": ("server login has been failing, try again later (server_login_retry)",),
    "pgbouncer-query-wait-timeout": ("FATAL:  query_wait_timeout",),
    "pgbouncer-unsupported-startup-parameter": ("FATAL:  unsupported startup parameter: options",),
    "pgbouncer-test-teardown": (
        'django.db.utils.OperationalError: database "test_17" is being accessed by other users\n'
        "DETAIL:  There is 1 other session using the database.",
    ),
}
# Errors that no runbook explains, and what is no error at all.
UNKNOWN = (
    'ERROR:  column "total" does not exist',
    "It is not allowed to park here",
    "ModuleNotFoundError: No module named 'psycopg'",
    "connection",
    "error",
    "?",
)


@pytest.fixture(scope="module")
def ask(reader: Reader, the_guide: Guide) -> Iterator[Ask]:
    """Ask the pages' own script, in a browser, for the runbooks of each text, the best one in front."""
    listed = [
        {"text": symptom.text, "causes": [{"page": page} for page in pages(symptom)]}
        for symptom in errors.listing(the_guide)
        if symptom.said
    ]
    with reader("robots.txt") as visit:  # as good as a page, and shown at once
        yield lambda *pasted: visit.page.evaluate(ASKED, {"pasted": pasted, "symptoms": listed})


def pages(symptom: errors.Symptom) -> list[str]:
    """Return the pages that explain a text, the one to read first in front; *Every error* where none does."""
    return [page.path for page in symptom.pages] or [f"{EVERY}#{symptom.text}"]


def filled(text: str) -> str:
    """Return a symptom's text with something in the place of what differs each time."""
    return re.sub(r"^[A-Z]+: (?=.)|…", lambda part: "" if part[0] != "…" else "x_140617131203456", text)


def test_every_captured_error_finds_its_runbook(ask: Ask, the_guide: Guide) -> None:
    """Each transcript of an error that a runbook shows, as a whole, leads to that runbook first, or to the page."""
    captured = {}
    for file in sorted((ROOT / snippets.FOLDER / "provoke").glob("*.out")):
        if file.name in SILENT:
            continue
        snippet = f"provoke/{file.name.split('.')[0]}.py"
        (page,) = {page.path for page, _ in calls.where_shown(the_guide, snippet) if page.path.startswith(RUNBOOKS)}
        captured[file.name] = (file.read_text(encoding="utf-8"), page)
    assert len(captured) >= 11
    for file in sorted((ROOT / snippets.FOLDER / "pool").glob("connect.*.out")):
        captured[file.name] = (file.read_text(encoding="utf-8"), "docs/how-to/persistent-connections.md")
    assert len(captured) >= 14
    found = ask(*(text for text, _ in captured.values()))
    for (name, (_, page)), answer in zip(captured.items(), found, strict=True):
        assert answer[:1] == [page], f"{name} leads to {answer or 'nothing'} and not to {page}"


def test_every_error_that_a_proof_expects_finds_its_runbook(ask: Ask) -> None:
    """Also those of which no transcript is kept."""
    expected = [(text, f"{RUNBOOKS}{name}.md") for name, texts in HEARD.items() for text in texts]
    for (text, page), answer in zip(expected, ask(*(text for text, _ in expected)), strict=True):
        assert answer[:1] == [page], f"{text!r} leads to {answer or 'nothing'} and not to {page}"


@pytest.mark.parametrize("where", SURROUNDINGS)
def test_every_text_is_found_in_whatever_stands_around_it(where: str, ask: Ask, the_guide: Guide) -> None:
    """Each text leads first to the page that is to be read first."""
    listed = [symptom for symptom in errors.listing(the_guide) if symptom.said and not NAMED.fullmatch(symptom.text)]
    assert len(listed) > 150
    pasted = [SURROUNDINGS[where](filled(symptom.text)) for symptom in listed]
    for symptom, text, answer in zip(listed, pasted, ask(*pasted), strict=True):
        first = pages(symptom)[0]
        assert answer[:1] == [first], f"{text!r} leads to {answer or 'nothing'} and not to {first}"


def test_a_part_of_a_text_finds_it(ask: Ask) -> None:
    """Who types need not type it to its end."""
    parts = {"too many clients": "too-many-clients", "wrong password type": "pgbouncer-login-failed"}
    for (part, name), answer in zip(parts.items(), ask(*parts), strict=True):
        assert answer[:1] == [f"{RUNBOOKS}{name}.md"], f"{part!r} leads to {answer or 'nothing'}"


# As people paste them: with what a program says around the reason, and the reason within.
PASTES = {
    "FATAL:  server login has been failing, cached error: password authentication failed for user "
    '"shop" (server_login_retry)\nSSL connection has been closed unexpectedly': "pgbouncer-login-failed",
    "FATAL:  server login has been failing, cached error: failed to answer authreq (server_login_retry)": (
        "pgbouncer-login-failed"
    ),
    r'level=error msg="setup" err="pinging: \"pq: unsupported startup parameter: extra_float_digits\""': (
        "pgbouncer-unsupported-startup-parameter"
    ),
    "psycopg2.errors.AdminShutdown: terminating connection due to administrator command\n"
    "SSL connection has been closed unexpectedly\n": "server-closed-the-connection",
    "psycopg2.errors.ProtocolViolation: query_wait_timeout\nserver closed the connection unexpectedly\n"
    "\tThis probably means the server terminated abnormally\n": "pgbouncer-query-wait-timeout",
    'psycopg.errors.UndefinedTable: relation "shop_item" does not exist\nLINE 1: SELECT * FROM "shop_item"\n'
    "                      ^\n": "relation-does-not-exist",
    "SSL error: decryption failed or bad rec\u200bord mac": "shared-connection",
    "psql: error: FATAL:  not allowed": "pgbouncer-login-failed",
}


def test_the_innermost_reason_leads(ask: Ask) -> None:
    """A cached error, a quoted one, and what says most of several."""
    for (text, name), answer in zip(PASTES.items(), ask(*PASTES), strict=True):
        assert answer[:1] == [f"{RUNBOOKS}{name}.md"], f"{text!r} leads to {answer or 'nothing'}"


# What somebody may paste by accident, or with a script: a megabyte of each.
HOSTILE = (
    "\x1b[",
    "^[[",
    "\\",
    '\\"',
    "[1;",
    "a",
    "\u200b",
    '"',
    "\n",
    "FATAL: ",
    'relation "',
    'prepared statement "',
)


def test_a_megabyte_of_anything_is_answered(ask: Ask) -> None:
    """With nothing found in it, and not with a page that hangs: the browser gives up on that."""
    assert ask(*(each * (1_000_000 // len(each)) for each in HOSTILE)) == [[]] * len(HOSTILE)


def test_an_unknown_text_finds_nothing(ask: Ask) -> None:
    """A wrong runbook would cost more than none."""
    for text, answer in zip(UNKNOWN, ask(*UNKNOWN), strict=True):
        assert not answer, f"{text!r} leads to {answer}"
