"""Every text of docs/data/texts.json leads to its own row: as programs print it, and as it stands in their source."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from atlas import listed, translated
from proven.guide import Guide
from proven.macros import errors
from tests.site.visit import Reader

ASKED = """async (asked) => {
    const { find } = await import(new URL("javascripts/match.js", location))
    const page = (text, symptoms) => find(text, symptoms)[0]?.symptom.causes[0].page ?? ""
    return asked.map(({ pasted, symptoms }) => pasted.map((text) => page(text, symptoms)))
}"""
# What stands in the last place of a text where its row depends on that.
KNOWN = {
    "accept() failed: …": ("Too many open files",),
    "got packet '…' from server when not linked": ("A", "E", "N", "T"),
    'no pg_hba.conf entry for host "…", user "…", database "…", …': ("no encryption", "SSL encryption"),
    "remaining connection slots are reserved for roles with the … attribute": ("SUPERUSER",),
    'remaining connection slots are reserved for roles with privileges of the "…" role': (
        "pg_use_reserved_connections",
    ),
    "could not receive data from server: …": ("Connection reset by peer", "Software caused connection abort"),
    "could not send data to server: …": ("Broken pipe", "Network dropped connection"),
    "SSL SYSCALL error: …": ("EOF detected", "Connection reset by peer", "Success"),
    "SSL error: …": ("unexpected eof while reading", "called a function you should not call"),
}
# What else stands in a place: a name where it is quoted, a pool's with its quotes, a reason at the end, else a number.
FILLS = {
    r"(?<=[\"'«»“「])\s*…\s*(?=[\"'«»”」])": "shop",
    r"(?<=\b(?:pool|g in) )…": "'pool-1'",
    r"(?<=: )…$": "a reason of its own",
    r"…": "12",
}
# How each program prints it, by what is known of how it comes to that.
WHO, AT = "2026-02-01 09:00:31.132 UTC [1]", 'connection to server at "db" (10.2.0.9), port 6432 failed: '
HEARD = (f"psql: error: {AT}FATAL:  {{}}", f"django.db.utils.OperationalError: {AT}FATAL:  {{}}\n")
CLIENT, SERVER = "-0x55d9a0: shop/web@10.1.0.4:40312 ", "-0x55da10: shop/web@10.2.0.9:5432 "
PRINTED = {
    "closes a client": (
        *HEARD,
        f"{WHO} LOG C{CLIENT}closing because: {{}} (age=3s)",
        f"{WHO} WARNING C{CLIENT}pooler error: {{}}",
    ),
    "closes a server connection": (f"{WHO} LOG S{SERVER}closing because: {{}} (age=3s)",),
    "closes who waits for a login to the server": HEARD,
    "refuses a command on the console": ("ERROR:  {}",),
    "logs": (f"{WHO} WARNING C{CLIENT}{{}}", f"{WHO} ERROR S{SERVER}{{}}"),
}
BY = {
    "PgBouncer": (f"{WHO} ERROR {{}}",),
    "PostgreSQL": (*HEARD, f"{WHO} web@shop ERROR:  {{}}", "psycopg.errors.SomeError: {}\n"),
    "libpq": (f"psycopg.OperationalError: connection failed: {AT}{{}}", "psycopg2.OperationalError: {}\n"),
    "Gunicorn": ("[2026-02-01 09:00:31 +0000] [1] [CRITICAL] {}",),
    "Celery": ("[2026-02-01 09:00:31,100: ERROR/MainProcess] {}",),
}
RAISED = 'Traceback (most recent call last):\n  File "/srv/app/views.py", line 3, in orders\n{}.{}: {{}}\n'


def filled(text: str) -> Iterator[str]:
    """Return a text with something sensible in each of its places, once over for each that changes its row."""
    for value in KNOWN.get(text, ("",)):
        whole = text[::-1].replace("…", value[::-1], 1)[::-1] if value else text
        for place, said in FILLS.items():
            whole = re.sub(place, said, whole)
        yield whole


def printed(by: str, how: str, row: str) -> tuple[str, ...]:
    """Return the ways in which a program prints a text; a client that is gone hears nothing of it."""
    if row.startswith("closing because:"):
        how = "closes a server connection"
    raised = (RAISED.format(by.replace(" 3", ""), how or "Error"),)
    return PRINTED.get(how) or BY.get(by) or raised


def wanted(texts: list[dict[str, Any]]) -> dict[str, str]:
    """Return each text, bare and as it is printed, with the row that it is to find."""
    rows = listed.rows()
    found = {each["text"]: each["row"] for each in texts}
    for each in texts:
        for text in filled(each["text"]):
            ways = set(chain.from_iterable(printed(each["by"], how, each["row"]) for how in each["how"]))
            row = listed.row_of(text, rows) or ""
            found |= {way.replace("{}", text): row for way in ways}
    return found


def test_every_text_finds_its_own_row(reader: Reader, the_guide: Guide) -> None:
    """Bare, with its places as they are, and filled and printed in each way that is known; in other languages too."""
    texts = [each for each in json.loads(listed.LIST.read_text(encoding="utf-8"))["texts"] if "row" in each]
    own = wanted(texts)
    foreign = json.loads(translated.LIST.read_text(encoding="utf-8"))["texts"]
    others = {
        way.replace("{}", text): each["row"]
        for each in foreign
        for way in ("{}", *HEARD)
        for text in filled(each["text"])
    }
    # Each leads to its row, and some languages have one text for two rows of one cause.
    first = {
        each.text: each.causes[0].page.name if each.causes else each.told["says"]
        for each in errors.listing(the_guide)
        if each.said
    }
    english = [{"text": text, "causes": [{"page": text}]} for text in first]
    spoken = [{"text": each["text"], "causes": [{"page": first[each["row"]]}]} for each in foreign]
    asked = [{"pasted": list(own), "symptoms": english}, {"pasted": list(others), "symptoms": spoken}]
    with reader("robots.txt") as visit:
        found, led = visit.page.evaluate(ASKED, asked)
    assert len(own) > 2 * len(texts)
    assert [(text, row, got) for (text, row), got in zip(own.items(), found, strict=True) if row != got] == []
    assert [(text, row) for (text, row), got in zip(others.items(), led, strict=True) if first[row] != got] == []
