"""Count the orders in four more threads each time somebody presses Enter.

Before that it says how many connections are open. With --close each thread
closes its own; without it, each keeps its own for as long as it lives.
"""

import sys
import threading
from collections.abc import Callable

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from orders.background import count_and_close, count_and_keep

OPEN = """
select count(*) from pg_stat_activity
where datname = current_database() and backend_type = 'client backend'
    and pid <> pg_backend_pid()
"""


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--close", action="store_true", help="close each connection"
        )

    def handle(self, *args: object, **options: object) -> None:
        # region: which
        count = count_and_close if options["close"] else count_and_keep
        # endregion: which
        for _ in sys.stdin:
            with connection.cursor() as cursor:
                cursor.execute(OPEN)
                (found,) = cursor.fetchone()
            self.stdout.write(f"{found} connections are open")
            four_threads(count)
            self.stdout.write("four more threads have counted the orders")
            self.stdout.flush()


def four_threads(count: Callable[[], int]) -> None:
    """Return when all four have counted. They live on, doing nothing."""
    counted = threading.Barrier(5)

    def work() -> None:
        count()
        counted.wait()
        threading.Event().wait()

    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    counted.wait()
