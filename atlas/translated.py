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
SUITES = {"bookworm": "15", "sid": "18"}  # each with its PostgreSQL: words change, and languages are added
LANGUAGES = {"zh_CN": "Chinese", "fr": "French", "de": "German", "it": "Italian", "ja": "Japanese", "ko": "Korean"}
LANGUAGES |= {"pl": "Polish", "pt_BR": "Portuguese", "ru": "Russian", "es": "Spanish", "tr": "Turkish"}
LANGUAGES |= {"uk": "Ukrainian", "cs": "Czech", "sv": "Swedish", "zh_TW": "Traditional Chinese"}
PLACE = re.compile(r"%\d+\$")  # the first, second, … value: another language has them in another order


def texts(catalogues: list[Path], language: str, rows: dict[str, str]) -> Iterator[dict[str, str]]:
    """Return each text of a language's catalogues whose English one has a row, once."""
    said: dict[str, str] = {}
    for path in catalogues:
        with path.open("rb") as catalogue:
            known = gettext.GNUTranslations(catalogue)._catalog  # type: ignore[attr-defined]
        for english, translated in known.items():
            row = rows.get(plain(english)) if isinstance(english, str) else None
            if row and translated:
                said.setdefault(plain(PLACE.sub("%", translated)), row)
    for text, row in sorted(said.items()):
        yield {"in": LANGUAGES[language], "text": text, "row": row}


def rows() -> dict[str, str]:
    """Return the row of each text of PostgreSQL and libpq."""
    known = json.loads(listed.LIST.read_text(encoding="utf-8"))["texts"]
    return {each["text"]: each["row"] for each in known if each["by"] in ("PostgreSQL", "libpq") and "row" in each}


def write() -> None:
    """Write docs/data/translated.json, from the catalogues of Debian's packages."""
    places = []
    for suite, major in SUITES.items():
        for package, domain in ((f"postgresql-{major}", "postgres"), ("libpq5", "libpq5")):
            locales = debian.fetch(package, suite) / "usr/share/locale"
            places.append((locales, f"LC_MESSAGES/{domain}-{major}.mo"))
    lines = []
    for language in LANGUAGES:
        catalogues = [found for folder, name in places if (found := folder / language / name).exists()]
        lines += [json.dumps(each, ensure_ascii=False) for each in texts(catalogues, language, rows())]
    of = f"PostgreSQL {' and '.join(SUITES.values())}"
    head = f'{{"read": "{datetime.now(UTC).date().isoformat()}", "of": "{of}", "texts": [\n'
    LIST.write_text(head + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    print(f"{len(lines)} texts in {len(LANGUAGES)} other languages: {LIST.name}")
