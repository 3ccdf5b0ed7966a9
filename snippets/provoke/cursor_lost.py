"""Read rows with iterator() while other clients use the pool.

Run it in the example project, with PgBouncer in transaction mode.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.prod")
django.setup()

from django.db import connection, transaction  # noqa: E402
from orders.models import Order  # noqa: E402


def read() -> None:
    rows = Order.objects.iterator(chunk_size=2)
    read = [next(rows)]
    other = connection.copy()  # another client
    other.set_autocommit(False)
    other.cursor().execute("select 1")  # takes the server connection, if free
    try:
        read += rows
    finally:
        other.rollback()
        other.close()
    print(f"{len(read)} orders")


Order.objects.bulk_create(Order(customer=str(n)) for n in range(4))
try:
    read()
except Exception as error:
    print(f"{type(error).__module__}.{type(error).__name__}: {error}")

print("in a transaction:")
with transaction.atomic():
    read()
