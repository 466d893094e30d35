"""Prometheus metrics: requests by route template, and the connection pool."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from fastapi import FastAPI, Response
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
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import QueuePool
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..database import Database
from .middleware import handler_of, method_of
from .problems import Unavailable

# The workers of one application write their counts here, so that any worker can add them up.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


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
        self._templates: dict[int, list[tuple[re.Pattern[str], str]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = dict(scope)  # a mounted application changes the scope
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
            took = perf_counter() - began
            if handler := self._handler(asked, scope.get("route")):
                method = method_of(asked)
                self._requests.labels(method, handler, status).inc()
                self._durations.labels(method, handler).observe(took)

    def _handler(self, asked: Scope, route: object) -> str | None:
        """The template of the route that answered; without a route, what `handler_of` returns.

        `handler_of` tries all routes once more, so its answers are kept. A route under two prefixes
        has two templates; one of them matches the path.
        """
        # By the route's id: a route can't be hashed, and lives as long as the application.
        known = self._templates.setdefault(id(route), [])
        for pattern, template in known:
            if pattern.match(asked["path"]):
                return template
        handler = handler_of(asked)
        if route is not None and handler is not None:
            pattern = compile_path(handler)[0]
            # It does not match behind a proxy's prefix, or in a mounted application without routes.
            if pattern.match(asked["path"]):
                known.append((pattern, handler))
        return handler


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

    The registry is the application's own, so two applications in one process don't clash. Where
    `PROMETHEUS_MULTIPROC_DIR` names a folder, `/metrics` has the requests of all workers, and
    nothing else, since the state of one worker is not the state of all.

    Raises:
        SystemExit: the folder is not there.
    """
    folder = os.environ.get(SHARED_FOLDER)
    if folder is not None and not (folder and Path(folder).is_dir()):
        raise SystemExit(
            f"{SHARED_FOLDER} names {folder or 'nothing'}, which is no folder; make an empty one "
            "before the workers start, or unset it."
        )
    registry = CollectorRegistry()
    # A module adds its collectors while it is open.
    app.state.metrics = registry
    for collector in (GCCollector, PlatformCollector, ProcessCollector):
        collector(registry=registry)
    registry.register(PoolCollector(lambda: getattr(app.state, "database", None)))
    app.add_middleware(RequestMetrics, registry=registry)
    answered = registry
    if folder is not None:
        answered = CollectorRegistry()
        MultiProcessCollector(answered, folder)  # type: ignore[no-untyped-call]

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        if folder is None and _workers() > 1:
            raise Unavailable(
                "Each of several workers would answer with its own numbers: set "
                f"{SHARED_FOLDER} to an empty folder, or start one worker a port."
            )
        return Response(generate_latest(answered), media_type=CONTENT_TYPE_LATEST)


def _workers() -> int:
    """How many workers the command asks for; uvicorn and gunicorn give each its arguments."""
    told = re.search(r"(?:^| )(?:--workers|-w)[ =]?(\d+)", " ".join(sys.argv[1:]))
    return int(told[1] if told else os.environ.get("WEB_CONCURRENCY") or 1)
