"""Put rows aside for a moment, where no other client sees them."""

from django.db import connection, transaction


# region: breaks
def set_aside(numbers: list[int]) -> None:
    """Fill a table of the session, which soon serves another client."""
    with connection.cursor() as cursor:
        cursor.execute("create temporary table chosen (id int)")
        cursor.execute("insert into chosen select unnest(%s)", [numbers])


def chosen() -> list[int]:
    """Return what was put aside."""
    with connection.cursor() as cursor:
        cursor.execute("select id from chosen")
        return [number for (number,) in cursor]


# endregion: breaks
# region: works
def through_a_table(numbers: list[int]) -> list[int]:
    """Create, fill and read the table in one transaction, which drops it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("create temporary table chosen (id int) on commit drop")
        cursor.execute("insert into chosen select unnest(%s)", [numbers])
        cursor.execute("select id from chosen")
        return [number for (number,) in cursor]


# endregion: works
