"""Tests of code that queries in a thread, and of async code."""

from asgiref.sync import async_to_sync
from django.test import TestCase, TransactionTestCase
from orders import background
from orders.models import Order


async def place() -> int:
    await Order.objects.acreate(customer="Ada")
    return await Order.objects.acount()


# region: thread
class InAThread(TransactionTestCase):
    """A TestCase keeps its orders in a transaction no thread can see."""

    def test_a_thread_counts_the_order(self) -> None:
        Order.objects.create(customer="Ada")
        counted = background.pool.submit(background.count_and_close)
        assert counted.result() == 1


# endregion: thread
# region: async
class InAsyncCode(TestCase):
    """Both query on the test's own connection, within its transaction."""

    def setUp(self) -> None:
        Order.objects.create(customer="Edith")

    async def test_an_order_is_placed(self) -> None:
        assert await place() == 2

    def test_an_order_is_placed_from_sync_code(self) -> None:
        assert async_to_sync(place)() == 2


# endregion: async
