"""Count the orders again and again, for as long as somebody presses Enter: a process that lives long, as workers do."""

import sys

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from orders.models import Order


class Command(BaseCommand):
    help = __doc__

    # region: loop
    def handle(self, *args: object, **options: object) -> None:
        for _ in sys.stdin:
            # A request would do this by itself. It closes what is past CONN_MAX_AGE, and what an error has broken,
            # and lets the next query try the connection first where CONN_HEALTH_CHECKS is on.
            close_old_connections()
            self.stdout.write(f"{Order.objects.count()} orders")
            self.stdout.flush()

    # endregion: loop
