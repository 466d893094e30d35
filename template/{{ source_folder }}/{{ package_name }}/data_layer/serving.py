"""What every worker has: logs, spans, metrics, a sign of life, and an end."""

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
    """Serve metrics and beat while the block lasts.

    Yields an event that Ctrl-C and SIGTERM set, after which the block should end, and the registry
    of the metrics; None where METRICS_ADDRESS is not set.

    Raises:
        InvalidSettings: nobody can listen at METRICS_ADDRESS.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with metrics() as registry:
        async with heartbeat():
            yield stop, registry
