"""How the processes tell each other that a value is old."""

import asyncio
import logging
import random
import secrets
from datetime import timedelta
from typing import Protocol

from redis.asyncio import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from .connection import Client, connect
from .errors import InvalidKey, RedisLayerError, RedisUnavailable
from .keys import Key
from .lifetime import TimeToLive
from .scripts import CHANGE, INVALIDATE
from .store import Store

logger = logging.getLogger(__name__)

SOURCE = "cache-source"
CHANNEL = "cache-invalidation"
# Longer than any value that is computed from the source should stay: the state that is gone makes
# those values old.
STATE = TimeToLive(timedelta(days=30))
# Seconds between two signs of life; twice that until silence counts as a broken connection.
HEARTBEAT = 1.0
# Invalidations that wait for Redis to come back. Beyond them the time to live is the bound.
PENDING = 100_000


class Heard(Protocol):
    """Who is told what goes on."""

    def forget(self, key: Key) -> None:
        """The value of a key, or whatever stands on a source, is old."""

    def connected(self) -> None:
        """From now on every invalidation is heard; some before may have been missed."""

    def disconnected(self) -> None:
        """From now on invalidations are missed."""


class Invalidations:
    """Sends invalidations to all processes of the service, and hears theirs.

    One that can't be sent waits until Redis is back, as long as this process lives.
    """

    def __init__(self, store: Store, heard: Heard) -> None:
        self._store = store
        self._heard = heard
        self._channel = str(store.key(CHANNEL, "all"))
        self._pending: dict[Key, None] = {}
        self._retry = asyncio.Event()

    def is_pending(self, key: Key) -> bool:
        """Whether Redis may still hold what this process knows to be old."""
        return key in self._pending

    @property
    def pending(self) -> int:
        """How many invalidations wait for Redis."""
        return len(self._pending)

    def source(self, name: str) -> Key:
        """The key of the state of a source."""
        return self._store.key(SOURCE, name)

    async def send(self, *keys: Key) -> None:
        """Drop the values of these keys everywhere; a key of `source` drops what stands on it."""
        for key in keys:
            self._heard.forget(key)
        # Listed before they are sent: a reader of this process must not find them meanwhile.
        self._pending.update(dict.fromkeys(keys))
        while len(self._pending) > PENDING:
            del self._pending[next(iter(self._pending))]
            self._store.counts["invalidations_lost"] += 1
        self._store.counts["invalidations"] += len(keys)
        for start in range(0, len(keys), 500):
            if not await self._sent(keys[start : start + 500]):
                self._retry.set()
                return

    async def _sent(self, keys: tuple[Key, ...]) -> bool:
        async def operation(redis: Client) -> None:
            pipeline = redis.pipeline(transaction=False)
            for key in keys:
                if key.entity == SOURCE:
                    pipeline.eval(
                        *(CHANGE, 1, str(key), secrets.token_hex(8), STATE.milliseconds),
                        *(self._channel, str(key)),
                    )
                else:
                    names = (str(key), key.companion("lease"))
                    pipeline.eval(INVALIDATE, 2, *names, self._channel, str(key))
            await pipeline.execute()

        try:
            await self._store.run(operation)
        except (RedisUnavailable, RedisError) as error:
            logger.warning("an invalidation waits for Redis: %s", error)
            return False
        for key in keys:
            self._pending.pop(key, None)
        return True

    async def resend(self) -> None:
        """Send what waits, again and again, for as long as the task lives."""
        pause = self._store.settings.breaker_pause
        while True:
            await self._retry.wait()
            self._retry.clear()
            while keys := tuple(self._pending)[:500]:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                await self._sent(keys)

    async def listen(self) -> None:
        """Hear what other processes send, for as long as the task lives."""
        settings = self._store.settings
        # Of its own: a subscription holds its connection, and the store's client waits for ever.
        async with connect(settings) as client:
            while True:
                try:
                    await self._hear(client)
                except (RedisError, RedisClusterException, OSError, RedisLayerError) as error:
                    logger.debug("invalidations are not heard: %s", error)
                finally:
                    self._heard.disconnected()
                self._store.counts["disconnections"] += 1
                await asyncio.sleep(settings.breaker_pause * random.uniform(0.5, 1.0))  # noqa: S311

    async def _hear(self, client: Client) -> None:
        if isinstance(client, RedisCluster):
            # Only then does it know a node to subscribe at; any node hears them all.
            await client.initialize()
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            silent = False
            while True:
                message = await pubsub.get_message(timeout=HEARTBEAT)
                if message is None:
                    if silent:
                        raise RedisUnavailable("Redis has been silent for two heartbeats.")
                    silent = True
                    await asyncio.wait_for(pubsub.ping(), HEARTBEAT)
                    continue
                silent = False
                self._take(message["type"], message["data"])

    def _take(self, kind: str, data: bytes) -> None:
        match kind:
            case "subscribe":
                # Also when redis-py has silently connected anew.
                self._heard.connected()
            case "message":
                try:
                    self._heard.forget(Key.parse(data))
                except InvalidKey as error:
                    logger.warning("an invalidation that is no key: %s", error)
