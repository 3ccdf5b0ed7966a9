"""Tell PostgreSQL's row security which tenant a request is for."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


# region: breaks
def become_tenant(name: str) -> None:
    """Set the tenant for the session, which serves other clients too."""
    with connection.cursor() as cursor:
        cursor.execute("select set_config('app.tenant', %s, false)", [name])


# endregion: breaks
# region: works
@contextmanager
def as_tenant(name: str) -> Iterator[None]:
    """Set the tenant for one transaction, and for nothing after it."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("select set_config('app.tenant', %s, true)", [name])
        yield


# endregion: works
