"""What was heard for each text: docs/data/said.json, from which the page takes its columns."""

import json
import re
from typing import Any

from atlas.listed import says
from proven import ROOT
from tests.proofs.reference.texts.bench import Heard
from tests.stack import pgbouncer

FILE = ROOT / "docs" / "data" / "said.json"
# What precedes the words that count, and what differs from run to run.
LEADS = re.compile(r"^.*(?:failed: |psql: error: )|^(?:FATAL|ERROR): +", re.DOTALL)
DIFFERS = re.compile(r"proven_\w+|\b127\.0\.0\.1\b|\b\d{4,5}\b")
ASYNCPGS = "08003"  # asyncpg's own for a connection that has ended, whatever the server said
LOGS = {"pooler", "server", "a client of its own"}


class Said:
    """The record, with which a run is compared, or which it writes."""

    def __init__(self, record: bool, postgres: str) -> None:
        self.record = record
        self.on = {"PgBouncer": pgbouncer.version(), "PostgreSQL": postgres}
        kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"on": self.on, "texts": {}}
        self.same = kept["on"] == self.on
        self.texts: dict[str, Any] = kept["texts"]

    def agrees(self, text: str, heard: dict[str, Heard]) -> bool:
        """Return whether clients hear what was recorded on these versions; others may differ in their words."""
        now = told(text, heard)
        if self.record:
            self.texts[text] = now
        assert not self.same or self.texts.get(text) == now, f"make record: {now} is not {self.texts.get(text)}"
        return True

    def write(self) -> None:
        """Write what was recorded."""
        if self.record:
            lines = (
                f"  {json.dumps(text, ensure_ascii=False)}: {json.dumps(self.texts[text], ensure_ascii=False)}"
                for text in sorted(self.texts)
            )
            head = f'{{"on": {json.dumps(self.on)}, "texts": {{\n'
            FILE.write_text(head + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


def told(text: str, heard: dict[str, Heard]) -> dict[str, Any]:
    """Return what is kept for a text: its SQLSTATE, the exception in each client, and what others heard instead."""
    hears = {who: each for who, each in heard.items() if who not in LOGS}
    states = {each.sqlstate for each in hears.values() if each.sqlstate and says(text, each.text)} - {ASYNCPGS}
    raised = {who: each.raised for who, each in hears.items() if says(text, each.text)}
    others = {
        who: DIFFERS.sub("…", LEADS.sub("", each.text.strip().splitlines()[0]))[:120]
        for who, each in hears.items()
        if who not in raised
    }
    logs = sorted(who for who in heard if who in LOGS and says(text, heard[who].text))
    return {"sqlstate": " ".join(sorted(states)), "raised": raised, "instead": others if raised else {}, "logged": logs}
