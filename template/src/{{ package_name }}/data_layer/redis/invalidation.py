"""Telling all processes of the service that a value is old."""

import logging
import secrets
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from redis.exceptions import RedisError

from .connection import Client
from .errors import RedisUnavailable
from .keys import Key, TimeToLive
from .store import Store

logger = logging.getLogger(__name__)

SOURCE = "cache-source"
# Longer than any value that is computed from the source should stay: the state that is gone makes
# those values old.
STATE = TimeToLive(timedelta(days=30))
# Invalidations that wait for Redis; of further ones the time to live is the bound.
PENDING = 100_000


class Invalidations:
    """Drops values in Redis, and tells all processes of it.

    Attributes:
        channel: where the keys of old values are published, with a space between them.
        pending: keys of values that are old while Redis may still hold them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.channel = str(store.key("cache-invalidation", "all"))
        self.pending: set[Key] = set()

    def source(self, name: str) -> Key:
        """The key of the state of a source."""
        return self._store.key(SOURCE, name)

    async def send(self, keys: Sequence[Key]) -> None:
        """Drop the values of these keys; the key of a source drops what is computed from it."""
        self._store.counts["invalidations"] += len(keys)
        # Listed before they are sent: a reader of this process must not find them meanwhile.
        room = max(PENDING - len(self.pending), 0)
        self._store.counts["invalidations_lost"] += max(len(keys) - room, 0)
        self.pending.update(keys[:room])
        await self._drop(keys)

    async def send_again(self) -> None:
        """Send what Redis did not take before."""
        await self._drop(tuple(self.pending))

    async def _drop(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), 500):
            batch = keys[start : start + 500]
            try:
                await self._store.run(partial(self._tell, keys=batch))
            except (RedisUnavailable, RedisError) as error:
                logger.warning("an invalidation waits for Redis: %s", error)
                return
            self.pending.difference_update(batch)

    async def _tell(self, redis: Client, keys: Sequence[Key]) -> None:
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
        await redis.publish(self.channel, " ".join(map(str, keys)))
