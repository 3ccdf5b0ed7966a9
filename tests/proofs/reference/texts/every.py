"""All that is provoked: cases, each heard by several clients, and texts that a driver or a runner says itself."""

from collections.abc import Callable
from typing import Any

from tests.proofs.reference.texts import (
    by_asyncpg,
    by_django,
    by_libpq,
    by_pgbouncer,
    by_postgresql,
    by_psycopg,
    by_runners,
)
from tests.proofs.reference.texts.bench import Bench, Heard

CASES = (*by_pgbouncer.CASES, *by_postgresql.CASES, *by_libpq.CASES)
# Which program says it, and how it is made to.
TEXTS: dict[str, tuple[str, Callable[[Bench], Any]]] = {
    **by_psycopg.TEXTS,
    **by_asyncpg.TEXTS,
    **by_django.TEXTS,
    **by_runners.TEXTS,
}


def provoked(text: str, bench: Bench) -> tuple[str, Heard]:
    """Provoke a text, and return which program says it and the exception; "nobody" for a text that is not here."""
    by, provoke = TEXTS.get(text, ("nobody", lambda _: ""))
    try:
        return by, Heard("", str(provoke(bench)))
    except Exception as error:
        return by, Heard(type(error).__name__, str(error))
