"""Two Channels consumers that query PostgreSQL, and what each leaves open."""

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from orders.models import Order


# region: keeps
class Keeps(AsyncWebsocketConsumer):
    """The connection stays open until the client sends something or leaves."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(str(await Order.objects.acount()))


# endregion: keeps
# region: closes
class Closes(AsyncWebsocketConsumer):
    """The wrapper calls close_old_connections() before and after."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(str(await self.count()))

    @database_sync_to_async
    def count(self) -> int:
        return Order.objects.count()


# endregion: closes
