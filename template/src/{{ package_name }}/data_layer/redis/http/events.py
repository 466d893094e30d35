"""Live messages as server-sent events: heartbeats, resuming, and an end for slow clients."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import Depends, Header
from fastapi.requests import HTTPConnection
from fastapi.sse import ServerSentEvent

from ...http.problems import Unavailable
from ..errors import RedisUnavailable
from ..live import Live, Subscription

LastEventId = Annotated[
    str | None,
    Header(description="The id of the last event that this client saw; browsers send it."),
]


async def live_of(connection: HTTPConnection) -> Live:
    """The live channels that the application opened when it started."""
    live: Live = connection.app.state.live
    return live


LiveDependency = Annotated[Live, Depends(live_of)]


def subscription_to(channel: str) -> Callable[..., AsyncIterator[Subscription]]:
    """A dependency that subscribes for as long as the answer lasts.

    While Redis is down the client gets 503, since it subscribes before the stream begins.
    """

    async def subscribe(
        live: LiveDependency, last_event_id: LastEventId = None
    ) -> AsyncIterator[Subscription]:
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
    """The subscription as what a route with `response_class=EventSourceResponse` yields.

    FastAPI adds a comment every 15 seconds in which nothing happens, which keeps proxies from
    closing the connection. A client that could not resume gets the event `missed` first: what it
    shows is out of date, so it should read the present state again.
    """
    if subscription.missed:
        yield ServerSentEvent(event="missed", data={})
    async for event in subscription:
        yield ServerSentEvent(id=event.id, raw_data=event.data)
