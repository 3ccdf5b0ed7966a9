"""The task that every worker here runs."""

from orders.models import Order


def count_orders() -> None:
    print(f"{Order.objects.count()} orders", flush=True)
