"""Print each notification on the channel "orders" as it arrives."""

from django.core.management.base import BaseCommand
from django.db import connections


class Command(BaseCommand):
    help = __doc__

    # region: listen
    def handle(self, *args: object, **options: object) -> None:
        direct = connections["direct"]
        with direct.cursor() as cursor:
            # The session idles between notifications, however long.
            cursor.execute("set idle_session_timeout = 0")
            cursor.execute("listen orders")
        self.stdout.write("listening")
        self.stdout.flush()
        for notification in direct.connection.notifies():
            self.stdout.write(notification.payload)
            self.stdout.flush()

    # endregion: listen
