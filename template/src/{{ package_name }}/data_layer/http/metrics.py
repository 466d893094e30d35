"""Prometheus metrics: requests by route template, and the connection pool."""

from collections.abc import Callable, Iterator
from http import HTTPMethod

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator import Instrumentator, metrics
from sqlalchemy import QueuePool

from ..database import Database


class PoolCollector(Collector):
    """The state of the connection pool at the moment of the scrape; nothing before the start."""

    def __init__(self, database: Callable[[], Database | None]) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """One gauge for each number that the pool knows."""
        database = self._database()
        if database is None or not isinstance(pool := database.engine.pool, QueuePool):
            return
        for name, value, meaning in (
            ("size", pool.size(), "Connections that the pool keeps open."),
            ("checked_out", pool.checkedout(), "Connections in use."),
            ("idle", pool.checkedin(), "Connections open and not in use."),
            ("overflow", max(pool.overflow(), 0), "Connections open beyond the pool's size."),
        ):
            yield GaugeMetricFamily(f"database_pool_{name}", meaning, value=value)


def install(app: FastAPI) -> None:
    """Count the requests of `app` and serve `/metrics`.

    The registry is the application's own, so two applications in one process don't clash.
    """
    registry = CollectorRegistry()
    # A module adds its collectors while it is open.
    app.state.metrics = registry
    for collector in (GCCollector, PlatformCollector, ProcessCollector):
        collector(registry=registry)
    registry.register(PoolCollector(lambda: getattr(app.state, "database", None)))

    observe = metrics.default(registry=registry)

    def bounded(info: metrics.Info) -> None:
        # A server lets any token through as a method; each would be a time series of its own.
        if info.method not in HTTPMethod.__members__:
            info.method = "other"
        if observe is not None:
            observe(info)

    Instrumentator(
        registry=registry,
        should_group_status_codes=False,
        excluded_handlers=["^/metrics$", "^/health/"],
    ).add(bounded).instrument(app).expose(app, include_in_schema=False)
