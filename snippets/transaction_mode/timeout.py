"""Give one piece of work a time limit of its own."""

from django.db import connection, transaction


# region: breaks
def report(query: str) -> list[tuple]:
    """Set the limit for the session, which other clients share."""
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = '200ms'")
        cursor.execute(query)
        return cursor.fetchall()


# endregion: breaks
# region: works
def report_in_a_transaction(query: str) -> list[tuple]:
    """Set the limit for this transaction, with which it ends."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("set local statement_timeout = '200ms'")
        cursor.execute(query)
        return cursor.fetchall()


# endregion: works
