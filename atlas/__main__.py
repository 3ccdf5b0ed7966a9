"""Read every program's texts, and write the list: `make texts`.

Programs that are not here yet are fetched, as the version matrix fetches them. What is not available is
named, and keeps what was listed for it before.
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path

from atlas import listed, machine, python, translated
from atlas.text import Text
from setup import debian, others

SUITES = {"bookworm": "1.18", "trixie": "1.24", "sid": "1.26"}
MAJORS = ("14", "15", "16", "17", "18")
PACKAGES = {"psycopg 3": "psycopg", "psycopg_pool": "psycopg-pool", "psycopg2": "psycopg2-binary", "asyncpg": "asyncpg"}
PACKAGES |= {"Django": "django", "Gunicorn": "gunicorn"}
OTHERS = {"Celery": "celery"}  # which is not part of .venv


def programs(installed: Path) -> Iterator[tuple[str, str, Path]]:
    """Return each compiled program that is read, after its name and version."""
    for suite, version in SUITES.items():
        yield "PgBouncer", version, debian.fetch("pgbouncer", suite) / "usr/sbin/pgbouncer"
    for major in MAJORS:
        binaries = others.postgres(major)
        yield "PostgreSQL", major, binaries / "postgres"
        yield "libpq", major, (binaries.parent / "lib/libpq.so.5").resolve()
    for package in ("psycopg_binary", "psycopg2_binary"):
        (library,) = installed.glob(f"{package}.libs/libpq-*")
        yield "libpq", f"of {package.replace('_', '-')}", library
    (compiled,) = installed.glob("psycopg2/_psycopg*.so")
    yield "psycopg2", metadata.version("psycopg2-binary"), compiled


def compiled_texts(by: str, program: Path) -> Iterator[Text]:
    """Return what a compiled program says."""
    readers = {"PgBouncer": machine.pgbouncer, "PostgreSQL": machine.postgres}
    return readers[by](program) if by in readers else machine.strings(program, by)


def said_in(folder: Path, by: str, package: str) -> tuple[str, Iterator[Text]]:
    """Return the version of a package in a folder, and what it says."""
    (found,) = metadata.distributions(name=package, path=[str(folder)])
    return found.version, python.texts(by, folder)


def main() -> None:
    """Read, and write docs/data/texts.json: each text with its programs, and its row or the rule that leaves it out."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    installed = Path(util.find_spec("django").origin).parent.parent  # type: ignore[union-attr, arg-type]
    compiled = list(programs(installed))
    read = [(by, version, compiled_texts(by, program)) for by, version, program in compiled]
    read += [(by, *said_in(installed, by, package)) for by, package in PACKAGES.items()]
    read += [(by, *said_in(others.packages("runners"), by, package)) for by, package in OTHERS.items()]
    for by, version, texts in read:
        said = sorted(set(texts))
        if not said:
            sys.exit(f"{by} {version}: no text was found; its code is not of x86-64, or made otherwise than before")
        for text in said:
            entry = found.setdefault((by, text.text), {"in": set(), "how": set()})
            entry["in"].add(version)
            entry["how"].add(text.how)
        print(f"{len(said):4} texts  {by} {version}")
    for by, version, program in compiled:
        held, rows = machine.held(program), listed.rows(by)
        for text in {text for text in held if (by, text) in found} | (listed.saying(rows, held) if rows else set()):
            found.setdefault((by, text), {"in": set(), "how": {""}})["in"].add(version)
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
    translated.write()


if __name__ == "__main__":
    main()
