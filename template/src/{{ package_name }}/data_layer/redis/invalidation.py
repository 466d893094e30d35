"""How the processes tell each other that a value is old."""

import asyncio
import logging
import random
import secrets
from datetime import timedelta
from functools import partial
from typing import Protocol

from redis.asyncio import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from .connection import Client, connect
from .errors import InvalidKey, RedisLayerError, RedisUnavailable
from .keys import Key, TimeToLive
from .store import Store

logger = logging.getLogger(__name__)

SOURCE = "cache-source"
CHANNEL = "cache-invalidation"
# Longer than any value that is computed from the source should stay: the state that is gone makes
# those values old.
STATE = TimeToLive(timedelta(days=30))
# Seconds between two signs of life; twice that until silence counts as a broken connection.
HEARTBEAT = 1.0
# Invalidations that wait for Redis; of further ones the time to live is the bound.
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

    Attributes:
        pending: what this process knows to be old while Redis may still hold it. It is sent again
            when Redis is back, as long as this process lives.
    """

    def __init__(self, store: Store, heard: Heard) -> None:
        self._store = store
        self._heard = heard
        self._channel = str(store.key(CHANNEL, "all"))
        self.pending: set[Key] = set()

    def source(self, name: str) -> Key:
        """The key of the state of a source."""
        return self._store.key(SOURCE, name)

    async def send(self, *keys: Key) -> None:
        """Drop the values of these keys everywhere; a key of `source` drops what stands on it."""
        for key in keys:
            self._heard.forget(key)
        self._store.counts["invalidations"] += len(keys)
        # Listed before they are sent: a reader of this process must not find them meanwhile.
        room = max(PENDING - len(self.pending), 0)
        self._store.counts["invalidations_lost"] += max(len(keys) - room, 0)
        self.pending.update(keys[:room])
        await self._drop(keys)

    async def _drop(self, keys: tuple[Key, ...]) -> None:
        for start in range(0, len(keys), 500):
            batch = keys[start : start + 500]
            try:
                await self._store.run(partial(self._tell, keys=batch))
            except (RedisUnavailable, RedisError) as error:
                logger.warning("an invalidation waits for Redis: %s", error)
                return
            self.pending.difference_update(batch)

    async def _tell(self, redis: Client, keys: tuple[Key, ...]) -> None:
        pipeline = redis.pipeline(transaction=False)
        for key in keys:
            if key.entity == SOURCE:
                pipeline.set(str(key), secrets.token_hex(8), px=STATE.milliseconds)
            else:
                # The lease first, so that nobody stores an old value between the two.
                pipeline.delete(key.companion("lease"))
                pipeline.delete(str(key))
        await pipeline.execute()
        # Only now: whoever hears it must not find the old value in Redis. A key has no space.
        await redis.publish(self._channel, " ".join(map(str, keys)))

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
                if self.pending:
                    await self._drop(tuple(self.pending))
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
                    for key in map(Key.parse, data.split(b" ")):
                        self._heard.forget(key)
                except InvalidKey as error:
                    logger.warning("an invalidation that is no key: %s", error)
