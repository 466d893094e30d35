"""Waiting for what happens beside a test."""

import asyncio
import time
from collections.abc import Callable

from tests.layer import PATIENCE


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds, and fail when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.002)
