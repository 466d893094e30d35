"""A sign of life of a process that answers on no port."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

EVERY = 5.0


@asynccontextmanager
async def heartbeat() -> AsyncIterator[None]:
    """Touch the file that HEARTBEAT_FILE names every five seconds, as long as the event loop turns.

    Nothing is touched where it is not set. The file of a process that hangs grows old.
    """
    name = os.environ.get("HEARTBEAT_FILE")
    if not name:
        yield
        return
    beating = asyncio.create_task(_beat(Path(name)))
    try:
        yield
    finally:
        beating.cancel()


async def _beat(file: Path) -> None:
    while True:
        file.touch()  # noqa: ASYNC240 (a thread that waits its turn would tell of the pool)
        await asyncio.sleep(EVERY)
