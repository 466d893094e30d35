"""What is open while the application runs, and how a route gets it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from ...http.problems import Unavailable
from ..cache import Cache
from ..limits import Limiter
from ..live import Live
from ..queue import Queue
from ..store import Store
from .events import ended_by_signals
from .metrics import CacheCollector
from .sessions import Sessions


@asynccontextmanager
async def redis_resources(state: Any) -> AsyncIterator[None]:
    """Open what the routes use of Redis, and leave it in the state of the application.

    Redis is no probe of `/health/ready`: it is down for every process at once, and a load balancer
    that took them all out would turn requests that need no Redis into errors. What can't do
    without it (sessions, limits that fail closed, live messages) answers 503 by itself.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open())
        state.store = store
        state.cache = await stack.enter_async_context(Cache.open(store))
        state.limiter = Limiter(store)
        state.sessions = Sessions(store)
        state.live = await stack.enter_async_context(Live.open(store))
        state.queue = None
        if store.settings.queue_url is not None:
            state.queue = await stack.enter_async_context(Queue.open(store.settings))
        collector = CacheCollector(state.cache)
        state.metrics.register(collector)
        stack.callback(state.metrics.unregister, collector)
        stack.enter_context(ended_by_signals(state.live))
        yield


def _opened(name: str) -> Callable[[HTTPConnection], Awaitable[Any]]:
    async def opened(connection: HTTPConnection) -> Any:
        return getattr(connection.app.state, name)

    return opened


async def _queue(connection: HTTPConnection) -> Queue:
    queue: Queue | None = connection.app.state.queue
    if queue is None:
        raise Unavailable("This server has no task queue; its REDIS_QUEUE_URL is not set.")
    return queue


StoreDependency = Annotated[Store, Depends(_opened("store"))]
CacheDependency = Annotated[Cache, Depends(_opened("cache"))]
LiveDependency = Annotated[Live, Depends(_opened("live"))]
SessionsDependency = Annotated[Sessions, Depends(_opened("sessions"))]
QueueDependency = Annotated[Queue, Depends(_queue)]
"""The task queue; the route answers 503 where `REDIS_QUEUE_URL` is not set."""
