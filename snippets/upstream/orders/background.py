"""Work in threads of our own, which see no request begin or end."""

from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from orders.models import Order

pool = ThreadPoolExecutor(max_workers=4)


# region: keeps
def count_and_keep() -> int:
    """Leave the thread's connection open, for as long as the thread lives."""
    return Order.objects.count()


# endregion: keeps
# region: closes
def count_and_close() -> int:
    """Close the thread's connection after the work, also if it failed."""
    try:
        return Order.objects.count()
    finally:
        connection.close()


# endregion: closes
