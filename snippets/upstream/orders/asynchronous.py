"""Async code that gives its connection back: a stream, and work beside it."""

import asyncio
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_GET

from orders.models import Order

# region: give-back
# Async code asks in a thread, and the connection is that thread's. With
# Django's own pool this closes nothing: it gives back.
give_back = sync_to_async(connections.close_all)
# endregion: give-back


async def counts_that_hold() -> AsyncIterator[str]:
    """Ask now and then, and keep the connection for as long as it goes on."""
    while True:
        yield f"data: {await Order.objects.acount()}\n\n"
        await asyncio.sleep(1)


# region: releases
async def counts() -> AsyncIterator[str]:
    """Ask now and then, and give the connection back before each pause."""
    while True:
        count = await Order.objects.acount()
        await give_back()
        yield f"data: {count}\n\n"
        await asyncio.sleep(1)


@require_GET
async def feed(request: HttpRequest) -> StreamingHttpResponse:
    """Send the number of orders for as long as somebody listens."""
    return StreamingHttpResponse(counts(), content_type="text/event-stream")


# endregion: releases
@require_GET
async def feed_and_hold(request: HttpRequest) -> StreamingHttpResponse:
    """Send the same, and keep a connection from everybody else meanwhile."""
    events = counts_that_hold()
    return StreamingHttpResponse(events, content_type="text/event-stream")


# region: outside
async def count_and_give_back() -> int:
    """Count the orders, for whoever is no request: asyncio.run() of a bot."""
    try:
        return await Order.objects.acount()
    finally:
        await give_back()


# endregion: outside
