"""Waking the workers and relays of this process after a commit, so that they need not poll."""

import asyncio
from contextlib import suppress
from weakref import WeakSet

_alarms: "WeakSet[Alarm]" = WeakSet()


class Alarm:
    """What a worker waits for; every commit that has something for it rings."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        _alarms.add(self)

    def ring(self) -> None:
        """End the wait; from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, or for so many seconds at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), seconds)
        self._rung.clear()


async def ring_all() -> None:
    """Ring every alarm of this process; called after a commit."""
    for alarm in list(_alarms):
        alarm.ring()


async def ring_at(stop: asyncio.Event, alarm: Alarm) -> None:
    """Ring once `stop` is set."""
    await stop.wait()
    alarm.ring()
