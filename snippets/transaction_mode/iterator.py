"""Read many orders without holding all of them in memory."""

from collections.abc import Callable

from django.db import transaction
from orders.models import Order


# region: breaks
def export(line: Callable[[str], None]) -> None:
    """Hand over one line per order."""
    for order in Order.objects.iterator(chunk_size=500):
        line(f"{order.pk},{order.customer}")


# endregion: breaks
# region: works
def export_in_a_transaction(line: Callable[[str], None]) -> None:
    """Hand over a line per order, on one server connection throughout."""
    with transaction.atomic():
        for order in Order.objects.iterator(chunk_size=500):
            line(f"{order.pk},{order.customer}")


# endregion: works
