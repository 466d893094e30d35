"""The second layer: values in Redis, and the lease of the one process that loads."""

import asyncio
import logging
import secrets
import time
from typing import Any, NamedTuple

from pydantic import ValidationError
from redis.exceptions import RedisError

from .connection import Client
from .envelope import Envelope
from .errors import RedisUnavailable
from .invalidation import STATE
from .keys import Key
from .policies import Policy
from .scripts import RELEASE, STORE
from .store import Store

logger = logging.getLogger(__name__)

# Seconds between two looks at what another process loads.
SHORTEST_LOOK, LONGEST_LOOK = 0.01, 0.1


class Found(NamedTuple):
    """A value as Redis has it."""

    envelope: Envelope
    value: Any

    @property
    def lasting(self) -> float:
        """How many seconds it will be there."""
        return max(0.0, (self.envelope.expires - now()) / 1000)


class Remote:
    """Values in Redis. What reads raises when Redis is out; what writes says whether it did."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(
        self, key: Key, policy: Policy[Any], sources: list[Key]
    ) -> tuple[Found | None, bytes]:
        """What is good of what is stored, and the state of the sources."""
        if not sources:
            value: Any = await self._store.run(lambda redis: redis.get(str(key)))
            return self._good(policy, value, b""), b""

        async def operation(redis: Client) -> list[bytes | None]:
            # Not in one transaction: a cluster has the keys in different places.
            pipeline = redis.pipeline(transaction=False)
            for one in (key, *sources):
                pipeline.get(str(one))
            found: list[bytes | None] = await pipeline.execute()
            for number, source in enumerate(sources, start=1):
                if found[number] is None:
                    found[number] = await _begin(redis, source)
            return found

        stored, *states = await self._store.run(operation)
        generation = b",".join(state or b"" for state in states)
        return self._good(policy, stored, generation), generation

    async def turn(
        self, key: Key, policy: Policy[Any], generation: bytes
    ) -> tuple[str | None, Found | None]:
        """The lease to load, or what another process has loaded; neither when that takes too long.

        Look and lease go together: between a look of its own and the lease another process could
        have loaded, stored and given the lease back.
        """
        token = secrets.token_hex(8)
        lease, text = key.companion("lease"), str(key)

        async def operation(redis: Client) -> list[Any]:
            pipeline = redis.pipeline(transaction=False)
            pipeline.set(lease, token, nx=True, px=policy.loading.milliseconds)
            pipeline.get(text)
            answers: list[Any] = await pipeline.execute()
            return answers

        until = time.monotonic() + policy.loading.seconds
        pause = SHORTEST_LOOK
        while True:
            mine, stored = await self._store.run(operation)
            found = self._good(policy, stored, generation)
            if found is not None:
                if mine:
                    await self.release(key, token)
                return None, found
            if mine:
                return token, None
            if time.monotonic() >= until:
                self._store.counts["impatient"] += 1
                return None, None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)

    async def lease(self, key: Key, policy: Policy[Any]) -> str | None:
        """The lease to load, unless somebody has it."""
        token = secrets.token_hex(8)
        taken = await self._store.run(
            lambda redis: redis.set(
                key.companion("lease"), token, nx=True, px=policy.loading.milliseconds
            )
        )
        return token if taken else None

    async def release(self, key: Key, lease: str) -> None:
        """Give a lease back."""
        try:
            await self._store.run(
                lambda redis: redis.eval(RELEASE, 1, key.companion("lease"), lease)
            )
        except (RedisUnavailable, RedisError) as error:
            logger.debug("a lease ends by itself: %s", error)

    async def keep(
        self, key: Key, policy: Policy[Any], value: Any, cost: float, generation: bytes, lease: str
    ) -> float | None:
        """Store what was loaded and give the lease back.

        Args:
            cost: seconds that loading took.
            generation: the state of the sources before it was loaded.

        Returns:
            How many seconds it will be there; None when it is not.
        """
        ttl = policy.ttl if value is not None else policy.absent
        if ttl is None:
            await self.release(key, lease)
            return None
        try:
            payload = None if value is None else policy.adapter.dump_json(value, warnings="error")
        except ValueError as error:
            self._store.counts["unserialisable"] += 1
            logger.error(
                "%s is not kept, since what its loader gives is not of the type that its policy "
                "names: %s",
                key,
                error,
            )
            await self.release(key, lease)
            return None
        expires = now() + ttl.milliseconds
        packed = Envelope(expires, round(cost * 1000), generation, payload).pack()
        names = (str(key), key.companion("lease"))
        try:
            done = await self._store.run(
                lambda redis: redis.eval(STORE, 2, *names, lease, packed, ttl.milliseconds)
            )
        except (RedisUnavailable, RedisError) as error:
            self._store.counts["writes_dropped"] += 1
            logger.debug("a value is not kept: %s", error)
            await self.release(key, lease)
            return None
        if not done:
            # Somebody changed it while it was loaded, or loading took longer than the lease.
            self._store.counts["stores_refused"] += 1
            return None
        return ttl.seconds

    def _good(self, policy: Policy[Any], stored: bytes | None, generation: bytes) -> Found | None:
        """What is stored, if it is of today's sources and schema."""
        envelope = Envelope.unpack(stored) if stored is not None else None
        if envelope is None or envelope.generation != generation:
            return None
        if envelope.payload is None:
            return Found(envelope, None)
        try:
            return Found(envelope, policy.adapter.validate_json(envelope.payload))
        except ValidationError:
            # Another schema under the same version; it is loaded and replaced.
            self._store.counts["undecodable"] += 1
            return None


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def _begin(redis: Client, source: Key) -> bytes:
    """The state of a source that has none, since it is new or was evicted."""
    state = secrets.token_hex(8).encode()
    there = await redis.set(str(source), state, nx=True, get=True, px=STATE.milliseconds)
    return there if isinstance(there, bytes) else state
