"""Work in threads of our own. Django closes connections when a request ends, and these threads see no request."""

from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from orders.models import Order

pool = ThreadPoolExecutor(max_workers=4)


# region: keeps
def count_and_keep() -> int:
    """Leave the thread's connection open: it stays for as long as the thread does, whatever CONN_MAX_AGE says."""
    return Order.objects.count()


# endregion: keeps
# region: closes
def count_and_close() -> int:
    """Close the thread's connection when the work is done, also when it failed."""
    try:
        return Order.objects.count()
    finally:
        connection.close()


# endregion: closes
