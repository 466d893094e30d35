"""The resources of Redis in a running application, how a route gets them, and their metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ...http.problems import Unavailable
from ..cache import Cache
from ..limits import Limiter
from ..live import Live
from ..queue import Queue
from ..store import Store
from .events import ended_by_signals
from .sessions import Sessions


@asynccontextmanager
async def redis_resources(state: Any) -> AsyncIterator[None]:
    """Open what the routes use of Redis, and put it into the state of the application.

    `/health/ready` does not ask Redis: Redis is down for all processes at once, and a load balancer
    that took them all out would fail even requests that need no Redis. Routes that can't do
    without it (sessions, limits that fail closed, live messages) answer 503 by themselves.
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
        collector = _CacheCollector(state.cache)
        state.metrics.register(collector)
        stack.callback(state.metrics.unregister, collector)
        stack.enter_context(ended_by_signals(state.live))
        yield


class _CacheCollector(Collector):
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "redis_events", "What happened, by its name.", labels=["event"]
        )
        for event, count in sorted(self._cache.store.counts.items()):
            events.add_metric([event], count)
        yield events
        for name, value, meaning in (
            ("available", self._cache.store.is_available, "1 while Redis answers."),
            ("hearing", self._cache.is_hearing, "1 while invalidations of others are heard."),
            ("local_entries", self._cache.entries, "Values kept within the process."),
            ("pending_invalidations", self._cache.pending, "Invalidations that wait for Redis."),
        ):
            yield GaugeMetricFamily(f"redis_{name}", meaning, value=value)


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
