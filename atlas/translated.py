"""What PostgreSQL says in other languages, read out of its message catalogues: each text that has a row of the atlas.

A server on a machine that is set up in German says its errors in German. PgBouncer and the drivers know English alone.
"""

import gettext
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from atlas import listed
from atlas.text import plain
from setup import debian

LIST = listed.LIST.with_name("translated.json")
PACKAGE, SUITE, MAJOR = "postgresql-15", "bookworm", "15"
LANGUAGES = {"zh_CN": "Chinese", "fr": "French", "de": "German", "it": "Italian", "ja": "Japanese", "ru": "Russian"}
LANGUAGES |= {"es": "Spanish"}
PLACE = re.compile(r"%\d+\$")  # the first, second, … value: another language has them in another order


def texts(locale: Path, language: str, rows: dict[str, str]) -> Iterator[dict[str, str]]:
    """Return each text of a language's catalogue whose English one has a row, once."""
    with (locale / language / f"LC_MESSAGES/postgres-{MAJOR}.mo").open("rb") as catalogue:
        known = gettext.GNUTranslations(catalogue)._catalog  # type: ignore[attr-defined]
    said = {}
    for english, translated in known.items():
        row = rows.get(plain(english)) if isinstance(english, str) else None
        if row and translated:
            said.setdefault(plain(PLACE.sub("%", translated)), row)
    for text, row in sorted(said.items()):
        yield {"in": LANGUAGES[language], "text": text, "row": row}


def rows() -> dict[str, str]:
    """Return the row of each of PostgreSQL's texts."""
    known = json.loads(listed.LIST.read_text(encoding="utf-8"))["texts"]
    return {each["text"]: each["row"] for each in known if each["by"] == "PostgreSQL" and "row" in each}


def write(locale: Path | None = None) -> None:
    """Write docs/data/translated.json, from the catalogues of Debian's package or of a folder."""
    locale = locale or debian.fetch(PACKAGE, SUITE) / "usr/share/locale"
    lines = [json.dumps(each, ensure_ascii=False) for name in LANGUAGES for each in texts(locale, name, rows())]
    head = f'{{"read": "{datetime.now(UTC).date().isoformat()}", "of": "PostgreSQL {MAJOR}", "texts": [\n'
    LIST.write_text(head + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    print(f"{len(lines)} texts in {len(LANGUAGES)} other languages: {LIST.name}")
