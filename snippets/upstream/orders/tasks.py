"""A piece of work, as every worker here is given it."""

from orders.models import Order


def count_orders() -> None:
    print(f"{Order.objects.count()} orders", flush=True)
