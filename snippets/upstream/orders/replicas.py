"""Read from a replica, but nothing older than what this visitor has written.

Only requests do so. Code outside of a request reads from the primary, unless
it asks for using("replica").
"""

import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.db import connections
from django.http import HttpRequest, HttpResponse

# region: router
# Where this request reads: from the "replica" or the "primary"; once it has
# "written", from the primary too. Code without a request is "outside".
reads: ContextVar[str] = ContextVar("reads", default="outside")


class Router:
    """Write to the primary, and read where the request does."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        # A transaction may write what it read, so it reads where it writes.
        if connections["default"].in_atomic_block:
            return "default"
        return "replica" if reads.get() == "replica" else "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        if reads.get() != "outside":
            reads.set("written")
        return "default"

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True  # both have the same rows


# endregion: router
# region: middleware
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
COOKIE = "written_at"
POSITION = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
REPLAYED = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
WRITTEN = "select pg_current_wal_insert_lsn()"


def ask(alias: str, query: str, *values: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchone()[0]


def begins(request: HttpRequest) -> str:
    """Return where a request reads at first."""
    if request.method not in SAFE:
        return "written"
    position = request.COOKIES.get(COOKIE, "")
    if POSITION.fullmatch(position) and not ask("replica", REPLAYED, position):
        return "primary"
    return "replica"


class ReadYourWrites:
    """Keep in a cookie the position that the replica must have replayed."""

    def __init__(self, view: Callable[[HttpRequest], HttpResponse]) -> None:
        self.view = view

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = reads.set(begins(request))
        try:
            response = self.view(request)
            if reads.get() == "written":
                secure = request.is_secure()
                at = ask("default", WRITTEN)
                response.set_cookie(COOKIE, at, httponly=True, secure=secure)
            elif reads.get() == "replica" and COOKIE in request.COOKIES:
                response.delete_cookie(COOKIE)
            return response
        finally:
            reads.reset(token)


# endregion: middleware
