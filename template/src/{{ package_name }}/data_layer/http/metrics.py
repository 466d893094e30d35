"""Prometheus metrics: requests by route template, and the connection pool."""

from collections.abc import Callable, Iterator
from http import HTTPMethod
from time import perf_counter

from fastapi import FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator.routing import get_route_name
from sqlalchemy import QueuePool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..database import Database

# The monitoring does not count itself.
UNCOUNTED = ("/metrics", "/health/")


class RequestMetrics:
    """Counts the requests and measures their duration, by method, route template and status.

    The middleware of prometheus-fastapi-instrumentator does the same and more, at three times the
    cost: the answer waits for another turn of the event loop.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "http_requests",
            "Requests, by method, route template and status.",
            ("method", "handler", "status"),
            registry=registry,
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Seconds from a request to the end of its answer, by method and route template.",
            ("method", "handler"),
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Before the request, since a mounted application changes the scope.
        handler = get_route_name(Request(scope), should_include_root_path=False) or "none"
        if handler.startswith(UNCOUNTED):
            await self._app(scope, receive, send)
            return
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, noted)
        finally:
            # A server lets any token through as a method; each would be a series of its own.
            method = scope["method"] if scope["method"] in HTTPMethod.__members__ else "other"
            self._requests.labels(method, handler, status).inc()
            self._durations.labels(method, handler).observe(perf_counter() - began)


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
    app.add_middleware(RequestMetrics, registry=registry)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
