"""Prometheus metrics of a process that answers no requests: its heartbeat, the time of its work.

Where METRICS_ADDRESS is not set nothing is counted, and prometheus-client is not even imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Optional

from .settings import InvalidSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge, Histogram

VARIABLE = "METRICS_ADDRESS"

_served: "tuple[Histogram, Gauge] | None" = None


@contextmanager
def metrics() -> Iterator[Optional["CollectorRegistry"]]:
    """Serve `/metrics` at METRICS_ADDRESS, such as 127.0.0.1:9000; yields its registry, or None.

    Raises:
        InvalidSettings: METRICS_ADDRESS is no host and port, or nobody can listen there.
    """
    # A global, so that the measured code need not know whether metrics are served.
    global _served
    address = os.environ.get(VARIABLE)
    if not address:
        yield None
        return
    from prometheus_client import (
        CollectorRegistry,
        Gauge,
        GCCollector,
        Histogram,
        PlatformCollector,
        ProcessCollector,
        start_http_server,
    )

    registry = CollectorRegistry()
    for collector in (GCCollector, PlatformCollector, ProcessCollector):
        collector(registry=registry)
    host, _, port = address.rpartition(":")
    try:
        if not host:
            raise ValueError
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except (OSError, OverflowError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "write it as 127.0.0.1:9000"
        raise InvalidSettings(f"Nobody can listen at {VARIABLE} ({address}): {reason}.") from None
    _served = (
        Histogram(
            "work_duration_seconds",
            "Seconds that pieces of work took, by their kind, name and outcome.",
            ("kind", "name", "outcome"),
            registry=registry,
        ),
        Gauge(
            "heartbeat_timestamp_seconds",
            "When the event loop turned last, as Unix time.",
            registry=registry,
        ),
    )
    try:
        yield registry
    finally:
        _served = None
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def measured(kind: str, name: str) -> Iterator[None]:
    """Count the work of the block, and its seconds; an error makes its outcome `failed`."""
    began = perf_counter()
    try:
        yield
    except Exception:
        observe(kind, name, perf_counter() - began, failed=True)
        raise
    observe(kind, name, perf_counter() - began)


def observe(kind: str, name: str, seconds: float, *, failed: bool = False) -> None:
    """Count a piece of work that took `seconds`.

    Args:
        kind: `job`, `tick`, `saga_step`, `outbox_message`, or one of your own.
        name: which one. Prometheus keeps a series for each name, so no id belongs into it.
        seconds: how long the work took.
        failed: whether the work failed.
    """
    if _served is not None:
        _served[0].labels(kind, name, "failed" if failed else "done").observe(seconds)


def beat() -> None:
    """Say that the event loop turns."""
    if _served is not None:
        _served[1].set_to_current_time()
