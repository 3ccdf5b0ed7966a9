"""What PostgreSQL and libpq say in other languages, read out of their catalogues: each text that has a row.

A server on a machine that is set up in German says its errors in German, and so does libpq, where its catalogues are
installed. PgBouncer and the drivers know English alone.
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
SUITE, MAJOR = "bookworm", "15"
CATALOGUES = {f"postgresql-{MAJOR}": f"postgres-{MAJOR}.mo", "libpq5": f"libpq5-{MAJOR}.mo"}  # of each package
LANGUAGES = {"zh_CN": "Chinese", "fr": "French", "de": "German", "it": "Italian", "ja": "Japanese", "ru": "Russian"}
LANGUAGES |= {"es": "Spanish"}
PLACE = re.compile(r"%\d+\$")  # the first, second, … value: another language has them in another order


def texts(catalogues: list[Path], language: str, rows: dict[str, str]) -> Iterator[dict[str, str]]:
    """Return each text of a language's catalogues whose English one has a row, once."""
    known = {}
    for path in catalogues:
        with path.open("rb") as catalogue:
            known |= gettext.GNUTranslations(catalogue)._catalog  # type: ignore[attr-defined]
    said = {}
    for english, translated in known.items():
        row = rows.get(plain(english)) if isinstance(english, str) else None
        if row and translated:
            said.setdefault(plain(PLACE.sub("%", translated)), row)
    for text, row in sorted(said.items()):
        yield {"in": LANGUAGES[language], "text": text, "row": row}


def rows() -> dict[str, str]:
    """Return the row of each of their texts."""
    known = json.loads(listed.LIST.read_text(encoding="utf-8"))["texts"]
    return {each["text"]: each["row"] for each in known if each["by"] in ("PostgreSQL", "libpq") and "row" in each}


def write() -> None:
    """Write docs/data/translated.json, from the catalogues of Debian's packages."""
    folders = {package: debian.fetch(package, SUITE) / "usr/share/locale" for package in CATALOGUES}
    lines = []
    for language in LANGUAGES:
        catalogues = [folders[package] / language / "LC_MESSAGES" / name for package, name in CATALOGUES.items()]
        lines += [json.dumps(each, ensure_ascii=False) for each in texts(catalogues, language, rows())]
    head = f'{{"read": "{datetime.now(UTC).date().isoformat()}", "of": "PostgreSQL {MAJOR}", "texts": [\n'
    LIST.write_text(head + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    print(f"{len(lines)} texts in {len(LANGUAGES)} other languages: {LIST.name}")
