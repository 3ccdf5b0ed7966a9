"""Look after connections where an ASGI application other than Django queries.

Such as Starlette, FastAPI or an MCP server: application = LikeDjango(api)
"""

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from django.db import connections


class LikeDjango:
    def __init__(self, app: ASGI3Application) -> None:
        self.app = app

    async def __call__(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        # As in Django, each request queries in a thread of its own.
        async with ThreadSensitiveContext():
            try:
                await self.app(scope, receive, send)
            finally:
                await sync_to_async(connections.close_all)()
