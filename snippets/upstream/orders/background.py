"""Work in threads of our own, in which no request begins or ends."""

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
    """Close the thread's connection after the work, even if it failed."""
    try:
        return Order.objects.count()
    finally:
        connection.close()


# endregion: closes
