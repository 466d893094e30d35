"""Live messages as server-sent events: heartbeats, resuming, and an end for slow clients."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from types import FrameType
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.sse import ServerSentEvent

from ...http.problems import Unavailable
from ..errors import RedisUnavailable
from ..live import Live, Subscription

LastEventId = Annotated[
    str | None,
    Header(description="The id of the last event that this client saw; browsers send it."),
]


def subscription_to(channel: str) -> Callable[..., AsyncIterator[Subscription]]:
    """A dependency that subscribes for as long as the answer lasts.

    While Redis is down the client gets 503, since it subscribes before the stream begins.
    """

    async def subscribe(
        request: Request, last_event_id: LastEventId = None
    ) -> AsyncIterator[Subscription]:
        live: Live = request.app.state.live
        async with AsyncExitStack() as stack:
            try:
                subscription = await stack.enter_async_context(
                    live.subscribe(channel, after=last_event_id)
                )
            except RedisUnavailable:
                raise Unavailable("Live messages can't be followed now; try again.") from None
            yield subscription

    return subscribe


async def events(subscription: Subscription) -> AsyncIterator[ServerSentEvent]:
    """The events that a route with `response_class=EventSourceResponse` yields.

    FastAPI adds a comment every 15 seconds in which nothing happens, which keeps proxies from
    closing the connection. A client that could not resume gets the event `missed` first: what it
    shows is out of date, so it should read the present state again.
    """
    if subscription.missed:
        yield ServerSentEvent(event="missed", data={})
    async for event in subscription:
        yield ServerSentEvent(id=event.id, raw_data=event.data)


@contextmanager
def ended_by_signals(live: Live) -> Iterator[None]:
    """End every stream as soon as the server is told to stop.

    A server waits for open answers before it stops, and a stream never ends by itself. A server
    that waits no longer cancels the stream, which logs a traceback.
    """
    loop = asyncio.get_running_loop()
    servers: dict[int, Any] = {}  # the server's own handlers, by signal

    def stop(number: int, frame: FrameType | None) -> None:
        # Thread-safe, since that also wakes a loop that is waiting.
        loop.call_soon_threadsafe(live.end)
        servers[number](number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        # Only the main thread may set handlers; no signal stops a server that has set none.
        if callable(handler) and threading.current_thread() is threading.main_thread():
            servers[number] = handler
            signal.signal(number, stop)
    try:
        yield
    finally:
        for signal_number, handler in servers.items():
            if signal.getsignal(signal_number) is stop:
                signal.signal(signal_number, handler)
