"""Async code that gives its connection back, in requests and outside them."""

import asyncio
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_GET

from orders.models import Order

# region: give-back
# Async code runs its queries in a thread, which owns the connection. With
# Django's own pool this closes nothing: it returns it to the pool.
give_back = sync_to_async(connections.close_all)
# endregion: give-back


async def counts_that_hold() -> AsyncIterator[str]:
    """Query every second, and hold the connection until the stream ends."""
    while True:
        yield f"data: {await Order.objects.acount()}\n\n"
        await asyncio.sleep(1)


# region: releases
async def counts() -> AsyncIterator[str]:
    """Query every second, and give the connection back before each pause."""
    while True:
        count = await Order.objects.acount()
        await give_back()
        yield f"data: {count}\n\n"
        await asyncio.sleep(1)


@require_GET
async def feed(request: HttpRequest) -> StreamingHttpResponse:
    """Send the number of orders for as long as the client listens."""
    return StreamingHttpResponse(counts(), content_type="text/event-stream")


# endregion: releases
@require_GET
async def feed_and_hold(request: HttpRequest) -> StreamingHttpResponse:
    """Send the same, and hold a connection for the whole time."""
    events = counts_that_hold()
    return StreamingHttpResponse(events, content_type="text/event-stream")


# region: outside
async def count_and_give_back() -> int:
    """Count the orders outside of a request, as in a bot's asyncio.run()."""
    try:
        return await Order.objects.acount()
    finally:
        await give_back()


# endregion: outside
