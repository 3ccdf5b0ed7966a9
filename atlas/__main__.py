"""Read every program's texts, and write the list: `make texts`.

Programs that are not here yet are fetched, as the version matrix fetches them. What cannot be had is named, and keeps
what was listed of it before.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path

from atlas import listed, machine, python
from atlas.text import Text
from setup import debian, others

SUITES = {"bookworm": "1.18", "trixie": "1.24", "sid": "1.26"}
MAJORS = ("14", "15", "16", "17", "18")
PACKAGES = {"psycopg 3": "psycopg", "psycopg_pool": "psycopg-pool", "psycopg2": "psycopg2-binary", "asyncpg": "asyncpg"}
PACKAGES |= {"Django": "django", "Gunicorn": "gunicorn"}


def programs() -> Iterator[tuple[str, Iterable[Text]]]:
    """Return each program that is read, and what it says."""
    for suite, version in SUITES.items():
        yield f"PgBouncer {version}", machine.pgbouncer(debian.fetch("pgbouncer", suite) / "usr/sbin/pgbouncer")
    for major in MAJORS:
        binaries = others.postgres(major)
        yield f"PostgreSQL {major}", machine.postgres(binaries / "postgres")
        yield f"libpq {major}", machine.strings((binaries.parent / "lib/libpq.so.5").resolve(), "libpq")
    installed = Path(util.find_spec("django").origin).parent.parent  # type: ignore[union-attr, arg-type]
    for package in ("psycopg_binary", "psycopg2_binary"):
        (library,) = installed.glob(f"{package}.libs/libpq-*")
        yield f"libpq of {package.replace('_', '-')}", machine.strings(library, "libpq")
    for by, package in PACKAGES.items():
        yield f"{by} {metadata.version(package)}", python.texts(by, installed)
    (compiled,) = installed.glob("psycopg2/_psycopg*.so")
    yield f"psycopg2 {metadata.version('psycopg2-binary')}", machine.strings(compiled, "psycopg2")


def main() -> None:
    """Read, and write docs/data/texts.json: each text with its programs, and its row or the rule that leaves it out."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for name, texts in programs():
        said = sorted(set(texts))
        if not said:
            sys.exit(f"{name}: no text was found; its machine code is not of x86-64, or made otherwise than before")
        for text in said:
            entry = found.setdefault((text.by, text.text), {"in": set(), "how": set()})
            entry["in"].add(name.removeprefix(f"{text.by} "))
            entry["how"].add(text.how)
        print(f"{len(said):4} texts  {name}")
    rules, rows = listed.rules(), listed.rows()
    lines = []
    for (by, text), entry in sorted(found.items()):
        why = {listed.left_out(Text(by, text, how), rules) for how in entry["how"]}
        where = {"out": min(why)} if all(why) else {"row": listed.row_of(text, rows)}
        row = {"by": by, "text": text, "in": sorted(entry["in"]), "how": sorted(entry["how"])}
        lines.append(json.dumps(row | where, ensure_ascii=False))
    day = datetime.now(UTC).date().isoformat()
    listed.LIST.write_text(f'{{"read": "{day}", "texts": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    out = sum("out" in json.loads(line) for line in lines)
    print(f"{len(lines)} texts, {out} of them left out: {listed.LIST.name}")


if __name__ == "__main__":
    main()
