"""Waiting for what happens beside a test."""

import asyncio
import time
from collections.abc import Callable


async def eventually(holds: Callable[[], bool], *, within: float = 20.0) -> float:
    """Wait until something holds, and fail when it doesn't in time; returns the seconds it took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < within, "it did not happen in time"
        await asyncio.sleep(0.002)
    return time.monotonic() - begun
