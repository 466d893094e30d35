"""What every worker has: logs, spans, metrics, a heartbeat, and the signals that stop it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Optional

from . import logs, tracing
from .heartbeat import heartbeat
from .metrics import metrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end, with logs and spans.

    Raises:
        InvalidSettings: a setting of logs or spans is wrong.
    """
    logs.configure()
    tracing.configure()
    asyncio.run(work)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[asyncio.Event, Optional["CollectorRegistry"]]]:
    """Serve metrics and send heartbeats while the block lasts.

    Yields an event, and the registry of the metrics (None where METRICS_ADDRESS is not set). Ctrl-C
    and SIGTERM set the event; the block should end then.

    Raises:
        InvalidSettings: nobody can listen at METRICS_ADDRESS.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with metrics() as registry:
        async with heartbeat():
            yield stop, registry
