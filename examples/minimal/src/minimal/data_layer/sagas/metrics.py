"""What `/metrics` says of sagas and the outbox, in a project that declares some."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..database import Database
from ..errors import DataLayerError
from .declarations import SAGAS
from .operating import Backlog, State, backlog, states
from .outbox import TOPICS

# A scrape must not wait for the database, and many scrapers must not ask it often.
EVERY = 15.0


@asynccontextmanager
async def saga_metrics(
    registry: CollectorRegistry, opened: Callable[[], Database | None]
) -> AsyncIterator[None]:
    """Count sagas and messages every 15 seconds.

    Args:
        registry: has the counts while the block lasts.
        opened: returns the database, once it is open.
    """
    if not SAGAS and not TOPICS:
        yield
        return
    collector = _Collector()
    registry.register(collector)
    counting = asyncio.create_task(_count(opened, collector))
    try:
        yield
    finally:
        registry.unregister(collector)
        counting.cancel()
        # The task may hold a connection of the pool, which is closed next.
        await asyncio.gather(counting, return_exceptions=True)


class _Collector(Collector):
    def __init__(self) -> None:
        self.sagas: list[State] = []
        self.waiting: list[Backlog] = []

    def collect(self) -> Iterator[Metric]:
        kind, late, messages, oldest = (
            GaugeMetricFamily(name, meaning, labels=labels)
            for name, meaning, labels in (
                ("sagas", "Sagas, by name, version and status.", ("name", "version", "status")),
                ("sagas_late_seconds", "For how long one has been due.", ("name", "version")),
                ("outbox_messages", "Messages that are not delivered.", ("topic", "state")),
                ("outbox_oldest_seconds", "Age of the oldest of them.", ("topic",)),
            )
        )
        overdue = dict.fromkeys(SAGAS, 0.0)
        for one in self.sagas:
            kind.add_metric([one.name, str(one.version), one.status], one.number)
            if one.status == "active":
                overdue[one.name, one.version] = max(one.late, 0.0)
        for (name, version), seconds in overdue.items():
            late.add_metric([name, str(version)], seconds)
        for topic in self.waiting:
            messages.add_metric([topic.topic, "waiting"], topic.waiting)
            messages.add_metric([topic.topic, "parked"], topic.parked)
            oldest.add_metric([topic.topic], topic.oldest)
        yield from (kind, late, messages, oldest)


async def _count(opened: Callable[[], Database | None], collector: _Collector) -> None:
    while True:
        database = opened()
        if database is not None:
            with suppress(DataLayerError):
                async with database.read_only() as session:
                    collector.sagas = await states(session)
                    collector.waiting = await backlog(session)
        await asyncio.sleep(EVERY if database is not None else 0.05)
