"""Tests of the example itself: python manage.py test orders"""

from django.test import TestCase

from orders.models import Order


class OrdersTest(TestCase):
    def test_an_order_is_listed(self) -> None:
        Order.objects.create(customer="Ada")
        listed = self.client.get("/orders/").json()["orders"]
        assert [order["customer"] for order in listed] == ["Ada"]
