"""Waiting for what happens beside a test, and writes that are committed without a database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.layer import PATIENCE


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds, and fail when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.002)


class Transaction:
    """Stands for the session of a transaction that commits at once."""

    def __init__(self) -> None:
        self._effects: list[Callable[[], Awaitable[None]]] = []

    def after_commit(self, effect: Callable[[], Awaitable[None]], *, or_unknown: bool) -> None:
        assert or_unknown, "an invalidation also runs when the commit may have taken effect"
        self._effects.append(effect)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *failure: object) -> None:
        for effect in self._effects:
            await effect()
