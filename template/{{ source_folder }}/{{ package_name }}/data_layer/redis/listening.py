"""Listening to channels, over a connection that is opened again when it was lost."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisClusterException, RedisError

from .connection import connect, is_cancelled
from .errors import RedisUnavailable
from .store import Store

logger = logging.getLogger(__name__)

# Seconds between two signs of life; silence for twice as long is a lost connection.
HEARTBEAT = 1.0
_LOST = (RedisError, RedisClusterException, RedisUnavailable, OSError)


class Listener:
    """Hears the wanted channels while `listening` lasts; without any, it has no connection."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._wanted: set[str] = set()
        self._rewanted = asyncio.Event()

    def _want(self, channel: str, wanted: bool = True) -> None:
        (self._wanted.add if wanted else self._wanted.discard)(channel)
        self._rewanted.set()

    async def _subscribed(self, channel: str) -> None:
        """Every message is heard from now on; some before may have been missed."""

    async def _heard(self, channel: str, data: bytes) -> None:
        """Somebody has published `data`."""

    def _lost(self) -> None:
        """Messages are missed from now on."""

    async def _unsubscribed(self, channel: str) -> None:
        """No message of the channel is heard from now on."""

    async def _beat(self) -> None:
        """Called at least once a heartbeat while messages are heard."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen until the block ends."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            await end({task})

    async def _listen(self) -> None:
        settings = self.store.settings
        # A client of its own: the store's has no timeout, and a subscription keeps its connection.
        async with connect(settings) as client:
            while not is_cancelled():
                while not self._wanted:
                    self._rewanted.clear()
                    await self._rewanted.wait()
                try:
                    if isinstance(client, RedisCluster):
                        # Only this tells the client a node to subscribe at; each node hears all.
                        await client.initialize()
                    async with client.pubsub() as pubsub:
                        await self._follow(pubsub)
                except _LOST as error:
                    logger.debug("Redis is not heard for now: %r", error)
                    self.store.counts["disconnections"] += 1
                    self._lost()
                    await asyncio.sleep(settings.breaker_pause * random.uniform(0.5, 1))  # noqa: S311
                else:
                    self._lost()

    async def _follow(self, pubsub: Any) -> None:
        subscribed: set[str] = set()
        reading: asyncio.Task[Any] | None = None
        silent = False
        try:
            while self._wanted and not is_cancelled():
                self._rewanted.clear()
                wanted = set(self._wanted)
                if new := wanted - subscribed:
                    await pubsub.subscribe(*new)
                if old := subscribed - wanted:
                    await pubsub.unsubscribe(*old)
                subscribed = wanted
                await self._beat()
                reading = reading or asyncio.create_task(pubsub.get_message(timeout=HEARTBEAT))
                rewanted = asyncio.create_task(self._rewanted.wait())
                try:
                    await asyncio.wait({reading, rewanted}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    rewanted.cancel()
                if not reading.done():
                    continue
                message, reading = reading.result(), None
                if message is not None:
                    silent = False
                    await self._take(message)
                elif silent:
                    raise NoConnection("it has been silent for two heartbeats")
                else:
                    silent = True
                    await asyncio.wait_for(pubsub.ping(), HEARTBEAT)
        finally:
            if reading is not None:
                reading.cancel()
                with suppress(asyncio.CancelledError, RedisError, OSError):
                    await reading

    async def _take(self, message: dict[str, Any]) -> None:
        channel = (message["channel"] or b"").decode()
        match message["type"]:
            case "subscribe":  # redis-py may also have connected anew without telling anybody
                await self._subscribed(channel)
            case "unsubscribe":
                await self._unsubscribed(channel)
            case "message":
                await self._heard(channel, message["data"])


async def end(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, and return when they have ended."""
    # More than once: redis-py sometimes swallows the cancellation of a task that awaits an answer.
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.5)
