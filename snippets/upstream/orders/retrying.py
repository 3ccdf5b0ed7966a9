"""Retry work that lost its connection, where that is safe."""

from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connection

from orders.models import Order

T = TypeVar("T")


# region: retry
def retried(work: Callable[[], T]) -> T:
    """Return what `work` returns; run it once more if it loses its connection.

    Use it only for work that reads, or that is harmless when done twice.
    """
    if connection.in_atomic_block:
        raise RuntimeError("retry the whole transaction, outside atomic()")
    if connection.connection and connection.connection.closed:
        connection.close()  # lost earlier: the work is not at fault
    with connection.cursor():  # opens and checks, before there is work to lose
        began_with = connection.connection
    # During COPY the driver raises errors of its own: make them Django's.
    work = connection.wrap_database_errors(work)
    try:
        return work()
    except Error:
        if connection.connection is began_with and not began_with.closed:
            raise  # a timeout, a deadlock: the server has answered
    connection.close()
    return work()


# endregion: retry
# region: once
def place(number: int, customer: str) -> Order:
    """Place an order under a number drawn beforehand: a repeat adds none."""

    def write() -> tuple[Order, bool]:
        return Order.objects.update_or_create(
            pk=number, defaults={"customer": customer}
        )

    return retried(write)[0]


# endregion: once
