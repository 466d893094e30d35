"""The second layer of the cache: values in Redis, who loads them, and what invalidates them."""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError
from redis.exceptions import RedisError

from .connection import Client, script
from .errors import RedisUnavailable
from .keys import Key, TimeToLive
from .policies import Policy
from .store import Store

logger = logging.getLogger(__name__)

SOURCE = "cache-source"
# Longer than any value computed from a source stays, since without the state the value counts as
# old.
STATE = TimeToLive(timedelta(days=30))
# How many invalidations wait for Redis; beyond that, old values stay for their time to live.
PENDING = 100_000
# Seconds between two looks at what another process loads.
SHORTEST_LOOK, LONGEST_LOOK = 0.01, 0.1


class Wanted(NamedTuple):
    """Which value somebody asks for, and the keys of the sources that it is computed from."""

    key: Key
    policy: Policy[Any]
    sources: list[Key]


class Found(NamedTuple):
    """A value, and how many seconds longer it is good."""

    value: Any
    seconds: float


class Shared:
    """Values in Redis, each with the state that its sources had before it was loaded.

    `read` and `lease` raise `RedisUnavailable` while Redis does not answer. `store` and `release`
    give up then, since the value and the lease expire by themselves; `drop` tries again later.

    Attributes:
        channel: where the keys of old values are published, with a space between them.
        pending: keys of values that are old while Redis may still hold them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.channel = str(store.key("cache-invalidation", "all"))
        self.pending: set[Key] = set()
        self._script = script(store.client, "lease")

    def source(self, name: str) -> Key:
        """The key of the state of a source."""
        return self._store.key(SOURCE, name)

    async def read(self, wanted: Wanted) -> tuple[Found | None, bytes]:
        """The value, if there is a good one, and the state of its sources."""
        if not wanted.sources:
            value: Any = await self._store.run(lambda redis: redis.get(str(wanted.key)))
            return self._good(wanted, value, b""), b""

        async def operation(redis: Client) -> list[bytes | None]:
            # Not in one transaction: a cluster has the keys in different places.
            pipeline = redis.pipeline(transaction=False)
            for one in (wanted.key, *wanted.sources):
                pipeline.get(str(one))
            found: list[bytes | None] = await pipeline.execute()
            for number, source in enumerate(wanted.sources, start=1):
                if found[number] is None:
                    found[number] = await _begin(redis, source)
            return found

        stored, *states = await self._store.run(operation)
        generation = b",".join(state or b"" for state in states)
        return self._good(wanted, stored, generation), generation

    async def lease(self, wanted: Wanted, generation: bytes) -> tuple[str | None, Found | None]:
        """The lease to load, or what another process has loaded; neither if that takes too long.

        One call both takes the lease and reads the value: between two calls another process could
        load, store and give its lease back.
        """
        token = secrets.token_hex(8)
        loading = wanted.policy.loading

        async def operation(redis: Client) -> list[Any]:
            pipeline = redis.pipeline(transaction=False)
            pipeline.set(wanted.key.companion("lease"), token, nx=True, px=loading.milliseconds)
            pipeline.get(str(wanted.key))
            answers: list[Any] = await pipeline.execute()
            return answers

        until = time.monotonic() + loading.seconds
        pause = SHORTEST_LOOK
        while True:
            mine, stored = await self._store.run(operation)
            if found := self._good(wanted, stored, generation):
                if mine:
                    await self.release(wanted, token)
                return None, found
            if mine:
                return token, None
            if time.monotonic() >= until:
                self._store.counts["impatient"] += 1
                return None, None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)

    async def store(
        self, wanted: Wanted, value: Any, generation: bytes, lease: str
    ) -> float | None:
        """Store what was loaded, and give the lease back.

        Args:
            wanted: what was asked for.
            value: what the loader gave.
            generation: the state of the sources before it was loaded.
            lease: from `lease`.

        Returns:
            For how many seconds Redis keeps the value; None if it does not.
        """
        ttl = wanted.policy.absent if value is None else wanted.policy.ttl
        payload = None if ttl is None else self._payload(wanted, value)
        if ttl is None or payload is None:
            await self.release(wanted, lease)
            return None
        expires = _now() + ttl.milliseconds
        stored = b"%d %d %s\n%s" % (expires, value is not None, generation, payload)
        try:
            kept = await self._end_lease(wanted, lease, stored, ttl.milliseconds)
        except (RedisUnavailable, RedisError) as error:
            self._store.counts["writes_dropped"] += 1
            logger.debug("a value is not kept: %s", error)
            await self.release(wanted, lease)
            return None
        if not kept:
            # Somebody changed it while it was loaded, or loading took longer than the lease.
            self._store.counts["stores_refused"] += 1
            return None
        return ttl.seconds

    async def release(self, wanted: Wanted, lease: str) -> None:
        """Give the lease back, so that nobody waits for its end."""
        try:
            await self._end_lease(wanted, lease)
        except (RedisUnavailable, RedisError) as error:
            logger.debug("a lease ends by itself: %s", error)

    async def drop(self, keys: Sequence[Key]) -> None:
        """Drop the values of these keys; the key of a source drops what is computed from it."""
        self._store.counts["invalidations"] += len(keys)
        # Pending first, so that no reader of this process finds the old values meanwhile.
        room = max(PENDING - len(self.pending), 0)
        self._store.counts["invalidations_lost"] += max(len(keys) - room, 0)
        self.pending.update(keys[:room])
        await self._drop(keys)

    async def drop_now(self, keys: Sequence[Key]) -> None:
        """Drop the values of these keys, or raise the error of Redis."""
        await self._store.run(partial(self._tell, keys=keys))

    async def drop_pending(self) -> None:
        """Drop what Redis could not drop before."""
        await self._drop(tuple(self.pending))

    async def _drop(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), 500):
            batch = keys[start : start + 500]
            try:
                await self.drop_now(batch)
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
        # Last: whoever hears it must not find the old value in Redis. No key contains a space.
        await redis.publish(self.channel, " ".join(map(str, keys)))

    async def _end_lease(self, wanted: Wanted, lease: str, *stored: bytes | int) -> bool:
        keys = [str(wanted.key), wanted.key.companion("lease")]
        return bool(await self._store.run(lambda _: self._script(keys=keys, args=[lease, *stored])))

    def _payload(self, wanted: Wanted, value: Any) -> bytes | None:
        """The value as JSON; None if it can't be read back, which is logged."""
        if value is None:
            return b""
        adapter = wanted.policy.adapter
        try:
            payload = adapter.dump_json(value, warnings="error")
            # Fails for a NaN, for example, which JSON does not have: each reader would load anew.
            adapter.validate_json(payload)
        except ValidationError as error:
            reason = "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'the value'}: {one['msg']}"
                for one in error.errors(include_url=False, include_input=False)
            )
        except ValueError as error:
            reason = str(error)
        else:
            return payload
        self._store.counts["unserialisable"] += 1
        logger.error(
            "%s is not kept: its loader's value can't be written as JSON and read back as the "
            "type of its policy: %s",
            wanted.key,
            reason,
        )
        return None

    def _good(self, wanted: Wanted, stored: bytes | None, generation: bytes) -> Found | None:
        """The stored value, if it fits the present state of its sources and its schema."""
        if stored is None:
            return None
        head, _, payload = stored.partition(b"\n")
        try:
            expires, there, state = head.split(b" ")
            seconds = max(0.0, (int(expires) - _now()) / 1000)
            if state != generation:
                return None
            value = None if there == b"0" else wanted.policy.adapter.validate_json(payload)
        except ValueError:
            # Another schema under the same version, or no value of ours; it is loaded and replaced.
            self._store.counts["undecodable"] += 1
            return None
        return Found(value, seconds)


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def _begin(redis: Client, source: Key) -> bytes:
    """Set the state of a source that has none, since the source is new or its state was evicted."""
    state = secrets.token_hex(8).encode()
    there = await redis.set(str(source), state, nx=True, get=True, px=STATE.milliseconds)
    return there if isinstance(there, bytes) else state
