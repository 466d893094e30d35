"""A sign of life of a process that answers no requests."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from . import metrics

EVERY = 5.0


@asynccontextmanager
async def heartbeat() -> AsyncIterator[None]:
    """Say every five seconds that the event loop turns, as long as it does.

    Each time, touch the file that HEARTBEAT_FILE names, if it is set, and tell the metrics. The
    file of a process that hangs grows old.
    """
    name = os.environ.get("HEARTBEAT_FILE")
    beating = asyncio.create_task(_beat(Path(name) if name else None))
    try:
        yield
    finally:
        beating.cancel()


async def _beat(file: Path | None) -> None:
    while True:
        metrics.beat()
        if file is not None:
            file.touch()  # noqa: ASYNC240 (a thread would prove its pool, not the loop)
        await asyncio.sleep(EVERY)
