"""django-tenants' backend, with a search_path that ends with a transaction."""

from contextlib import suppress
from typing import Any

from django.db.backends.postgresql.psycopg_any import errors
from django.db.transaction import TransactionManagementError
from django.utils.functional import cached_property
from django_tenants.postgresql_backend import base
from django_tenants.utils import get_public_schema_name, quote_schema_name


class DatabaseWrapper(base.DatabaseWrapper):
    """Send SET LOCAL in a transaction; refuse tenants' queries outside one."""

    @cached_property
    def pg_version(self) -> int:
        # Django's own opens a cursor, and does so before the first
        # transaction of a process can begin.
        self.ensure_connection()
        return self.connection.info.server_version

    def _cursor(self, name: str | None = None) -> Any:
        # Not django-tenants' own, which sends SET: that lasts for the session.
        cursor = super(base.DatabaseWrapper, self)._cursor(name)
        if self.in_atomic_block:
            names = map(quote_schema_name, self._get_cursor_search_paths())
            # After an error only ROLLBACK can follow, and it needs no path.
            with (
                suppress(errors.InFailedSqlTransaction),
                self.connection.cursor() as path,
            ):
                path.execute(f"set local search_path = {', '.join(names)}")
        elif self.schema_name != get_public_schema_name():
            wanted = "query this tenant in transaction.atomic()"
            raise TransactionManagementError(f"{self.schema_name}: {wanted}")
        return cursor
