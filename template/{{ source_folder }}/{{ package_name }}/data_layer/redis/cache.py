"""The two-layer cache: first the process, then Redis, then a loader."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast, overload

from redis.exceptions import RedisError

from .errors import InvalidKey, RedisUnavailable
from .keys import Key
from .listening import Listener, end
from .policies import Policy, Source, UserData
from .shared import SOURCE, Found, Shared, Wanted
from .store import Store

if TYPE_CHECKING:  # a cache alone needs no SQLAlchemy, which takes long to import
    from ..database import WriteSession

Value = TypeVar("Value")
Loader = Callable[[], Awaitable[Value]]
Name = tuple[str, int, str]
"""Entity, version and identifier."""

logger = logging.getLogger(__name__)

# Seconds that a process keeps a value while it hears no invalidations, so that not every call asks
# the database for the same value while Redis is down.
ALONE = 1.0


class _Entry(NamedTuple):
    """A value within the process, when it expires, and the state of its sources."""

    value: Any
    expires: float
    mark: tuple[int, ...]


@dataclass(eq=False, slots=True)
class _Flight:
    """One look into Redis, and perhaps one load, for all calls in this process for the same value.

    Attributes:
        mark: the state of the sources, as this process knew it when the flight began.
        outdated: the value became old meanwhile, so only the calls that wait get it.
        value: the future that they wait for; cancelled when the look was cancelled.
    """

    name: Name
    wanted: Wanted
    load: Loader[Any]
    mark: tuple[int, ...]
    outdated: bool = False
    value: asyncio.Future[Any] = field(default_factory=lambda: asyncio.Future())


class Cache(Listener):
    """Values that can be loaded again, kept within the process and in Redis.

    `Cache.open` makes one for each process. While Redis is down, slow or full, the cache is only
    slower: the loader answers. Serves DL-RD-11 to DL-RD-14.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        # A new entry evicts the oldest one. All entries are young, so to evict the least recently
        # used one instead would gain little, and finding it would cost more.
        self._entries: dict[Name, _Entry] = {}
        self._shared = Shared(store)
        self._flights: dict[Name, _Flight] = {}
        self._loads: set[asyncio.Task[None]] = set()
        self._changes: Counter[str] = Counter()
        self._hearing = asyncio.Event()
        self._want(self._shared.channel)

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store) -> AsyncIterator[Self]:
        """A cache that hears invalidations until it is closed."""
        cache = cls(store)
        async with cache.listening():
            try:
                yield cache
            finally:
                await end(cache._loads.copy())

    @property
    def is_hearing(self) -> bool:
        """Whether this process hears the invalidations of others."""
        return self._hearing.is_set()

    async def hearing(self) -> None:
        """Wait until this process hears the invalidations of others, however long Redis is down."""
        await self._hearing.wait()

    @property
    def entries(self) -> int:
        """How many values this process keeps."""
        return len(self._entries)

    @property
    def pending(self) -> int:
        """How many invalidations wait until Redis is back."""
        return len(self._shared.pending)

    @overload
    async def get(self, policy: Policy[Value], identifier: str, load: Loader[Value]) -> Value: ...

    @overload
    async def get(
        self, policy: Policy[Value], identifier: str, load: Loader[Value | None]
    ) -> Value | None: ...

    async def get(
        self, policy: Policy[Value], identifier: str, load: Loader[Value | None]
    ) -> Value | None:
        """The value: from this process, from Redis, or loaded.

        However many calls ask for it at once, in this process and in others, one of them loads it.

        Args:
            policy: what kind of data it is.
            identifier: which one; any text.
            load: reads the value from its source, in a transaction of its own, for all calls that
                wait; it returns None if there is no such value.

        Raises:
            InvalidKey: the identifier is empty, or too long.
            What `load` raises, in every call of this process that waits.
        """
        name = (policy.entity, policy.version, identifier)
        while True:
            mark = self._mark(policy.sources) if policy.sources else ()
            entry = self._entries.get(name)
            if entry is not None and entry.mark == mark and entry.expires > time.monotonic():
                self.store.counts["hits_local"] += 1
                value: Value | None = entry.value
                return value
            flight = self._flights.get(name)
            if flight is None or flight.mark != mark:
                sources = [self._shared.source(source.name) for source in policy.sources]
                wanted = Wanted(self._key(policy, identifier), policy, sources)
                flight = _Flight(name, wanted, load, mark)
                await self._look(flight)
            else:
                self.store.counts["shared"] += 1
            if not flight.value.done():
                await asyncio.wait([flight.value])
            if not flight.value.cancelled():
                return cast("Value | None", flight.value.result())

    def invalidate(self, session: "WriteSession", policy: UserData[Any], *identifiers: str) -> None:
        """Drop values everywhere, as soon as the transaction that changes them has committed.

        They are also dropped when the connection breaks during COMMIT, since the change may have
        taken effect.
        """
        self._drop_after(session, [self._key(policy, identifier) for identifier in identifiers])

    def changed(self, session: "WriteSession", *sources: Source) -> None:
        """Drop what is computed from these sources, as soon as the transaction has committed."""
        self._drop_after(session, [self._shared.source(source.name) for source in sources])

    def _drop_after(self, session: "WriteSession", keys: list[Key]) -> None:
        async def drop() -> None:
            for key in keys:
                self._forget(key)
            await self._shared.drop(keys)

        session.after_commit(drop, or_unknown=True)

    async def _subscribed(self, channel: str) -> None:
        # Some invalidations may have been missed before.
        self._forget_all()
        self._hearing.set()

    async def _heard(self, channel: str, data: bytes) -> None:
        try:
            for key in map(Key.parse, data.split(b" ")):
                self._forget(key)
        except InvalidKey as error:
            logger.warning("somebody published an invalidation that is no key: %s", error)

    def _lost(self) -> None:
        self._hearing.clear()
        self._forget_all()

    async def _beat(self) -> None:
        if self._shared.pending:
            await self._shared.drop_pending()

    def _forget(self, key: Key) -> None:
        if key.entity == SOURCE:
            # An entry or a load whose mark holds the earlier count is old now.
            self._changes[key.identifier] += 1
            return
        name = (key.entity, key.version, key.identifier)
        self._entries.pop(name, None)
        if flight := self._flights.pop(name, None):
            flight.outdated = True

    def _forget_all(self) -> None:
        self._entries.clear()
        for flight in self._flights.values():
            flight.outdated = True
        self._flights.clear()

    def _key(self, policy: Policy[Any], identifier: str) -> Key:
        return self.store.key(policy.entity, identifier, policy.version)

    def _mark(self, sources: tuple[Source, ...]) -> tuple[int, ...]:
        return tuple(self._changes[source.name] for source in sources)

    async def _look(self, flight: _Flight) -> None:
        """Look into Redis; when the value is not there, begin to load it."""
        self._flights[flight.name] = flight
        found, generation = None, None
        try:
            # While its invalidation is pending, Redis may still hold the old value.
            if self._shared.pending.isdisjoint((flight.wanted.key, *flight.wanted.sources)):
                found, generation = await self._shared.read(flight.wanted)
        except (RedisUnavailable, RedisError) as error:
            logger.debug("the cache goes on without Redis: %s", error)
        except BaseException:
            # The call that looks was cancelled; the other calls that wait look for themselves.
            self._land(flight)
            flight.value.cancel()
            raise
        if found is not None:
            self.store.counts["hits"] += 1
            self._arrive(flight, found)
            return
        # In a task, which goes on when the calls that wait for it are cancelled.
        task = asyncio.create_task(self._fly(flight, generation))
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)

    async def _fly(self, flight: _Flight, generation: bytes | None) -> None:
        try:
            self._arrive(flight, await self._fetch(flight, generation))
        except (Exception, asyncio.CancelledError) as error:
            self._land(flight)
            flight.value.set_exception(error)
            flight.value.exception()  # there may be nobody left who waits for it

    async def _fetch(self, flight: _Flight, generation: bytes | None) -> Found:
        """Load the value, or take what another process has loaded meanwhile.

        Args:
            flight: what is wanted.
            generation: the state of the sources; None when Redis does not answer.
        """
        lease = None
        if generation is not None:
            try:
                lease, found = await self._shared.lease(flight.wanted, generation)
            except (RedisUnavailable, RedisError) as error:
                logger.debug("the cache goes on without Redis: %s", error)
            else:
                if found is not None:
                    self.store.counts["hits"] += 1
                    return found
                self.store.counts["misses"] += 1
        self.store.counts["loads"] += 1
        if lease is None or generation is None:
            return Found(await flight.load(), ALONE)
        try:
            value = await flight.load()
        except BaseException:
            await self._shared.release(flight.wanted, lease)
            raise
        stored = await self._shared.store(flight.wanted, value, generation, lease)
        return Found(value, stored or ALONE)

    def _arrive(self, flight: _Flight, found: Found) -> None:
        """Hand the value to those who wait, and keep it within the process while it is good."""
        self._land(flight)
        flight.value.set_result(found.value)
        policy, settings = flight.wanted.policy, self.store.settings
        if (
            policy.local is None
            or not settings.local_entries
            or (found.value is None and policy.absent is None)
            or flight.outdated
            or flight.mark != self._mark(policy.sources)
        ):
            return
        bound = settings.local_ttl if self.is_hearing else ALONE
        expires = time.monotonic() + min(policy.local.seconds, bound, found.seconds)
        self._entries.pop(flight.name, None)
        if len(self._entries) >= settings.local_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[flight.name] = _Entry(found.value, expires, flight.mark)

    def _land(self, flight: _Flight) -> None:
        if self._flights.get(flight.name) is flight:
            del self._flights[flight.name]
