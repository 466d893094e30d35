"""The two-layer cache: within the process over Redis over a loader."""

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from redis.exceptions import RedisError

from .errors import RedisUnavailable
from .invalidation import SOURCE, Invalidations
from .keys import Key
from .local import Local, Name
from .policies import Policy, Source, UserData
from .remote import Found, Remote, now
from .store import Store

if TYPE_CHECKING:  # a cache alone needs no SQLAlchemy, which takes long to import
    from ..database import WriteSession

Value = TypeVar("Value")
Parameters = ParamSpec("Parameters")
Loader = Callable[[], Awaitable[Value]]

logger = logging.getLogger(__name__)

# Seconds that a value stays within a process that hears of no invalidations. It keeps the database
# from being asked the same at once by everybody while Redis is down.
ALONE = 1.0


class _Flight:
    """One look at Redis, and perhaps one load, for everybody in this process who asks for the same.

    Who comes first looks, and waits for nobody. Loading is a task, so that it goes on when they
    are cancelled who wait for it.

    Attributes:
        mark: the state of the sources, as this process knew it when the flight began.
        outdated: the value became old meanwhile, so it goes to those who wait and nowhere else.
        looked: the look is over. With neither `found` nor `task` it was cancelled.
        found: what Redis had.
        task: loads the value.
    """

    def __init__(self, mark: tuple[int, ...]) -> None:
        self.mark = mark
        self.outdated = False
        self.looked = asyncio.Event()
        self.found: Found | None = None
        self.task: asyncio.Task[Any] | None = None


class Cache:
    """Values that can be loaded again, kept within the process and in Redis.

    `Cache.open` makes one for each process. Redis being down, slow or full only makes it slower:
    the loader answers. Serves DL-RD-11 to DL-RD-14.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._local = Local(store.settings.local_entries)
        self._remote = Remote(store)
        self._flights: dict[Name, _Flight] = {}
        self._refreshes: set[asyncio.Task[Any]] = set()
        self._changes: Counter[str] = Counter()
        self._hearing = asyncio.Event()
        self._invalidations = Invalidations(store, self)

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store) -> AsyncIterator[Self]:
        """A cache that hears of invalidations until it is closed."""
        cache = cls(store)
        tasks = [
            asyncio.create_task(cache._invalidations.listen()),
            asyncio.create_task(cache._invalidations.resend()),
        ]
        try:
            yield cache
        finally:
            tasks += cache._refreshes
            tasks += [flight.task for flight in cache._flights.values() if flight.task]
            await _end({task for task in tasks if not task.done()})

    @property
    def is_hearing(self) -> bool:
        """Whether invalidations of other processes are heard."""
        return self._hearing.is_set()

    async def hearing(self) -> None:
        """Wait until invalidations of other processes are heard, for ever while Redis is down."""
        await self._hearing.wait()

    @property
    def entries(self) -> int:
        """How many values are kept within this process."""
        return len(self._local)

    @property
    def pending(self) -> int:
        """How many invalidations wait for Redis to come back."""
        return self._invalidations.pending

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

        However many ask for it at once, in this process and in others, one of them loads it.

        Args:
            policy: what kind of data it is.
            identifier: which one; any text.
            load: reads it from its source, in a transaction of its own: what it gives is for
                everybody who waits. None says that there is none.

        Raises:
            InvalidKey: the identifier is empty, or too long.
            What `load` raises, for everybody who waits in this process.
        """
        name = (policy.entity, policy.version, identifier)
        while True:
            mark = self._mark(policy.sources) if policy.sources else ()
            entry = self._local.get(name)
            if entry is not None and entry.mark == mark:
                self.store.counts["hits_local"] += 1
                value: Value | None = entry.value
                return value
            flight = self._flights.get(name)
            if flight is None or flight.mark != mark:
                flight = _Flight(mark)
                await self._look(flight, name, policy, load)
            else:
                self.store.counts["shared"] += 1
                await flight.looked.wait()
            if flight.task is not None:
                return cast("Value | None", await asyncio.shield(flight.task))
            if flight.found is not None:
                return cast("Value | None", flight.found.value)

    def invalidate(self, session: "WriteSession", policy: UserData[Any], *identifiers: str) -> None:
        """Drop values everywhere, as soon as the transaction that changes them has committed.

        Also when the connection breaks during COMMIT, since the change may have taken effect.
        """
        keys = [self._key(policy, identifier) for identifier in identifiers]
        session.after_commit(lambda: self._invalidations.send(*keys), or_unknown=True)

    def changed(self, session: "WriteSession", *sources: Source) -> None:
        """Drop what is computed from these sources, as soon as the transaction has committed."""
        keys = [self._invalidations.source(source.name) for source in sources]
        session.after_commit(lambda: self._invalidations.send(*keys), or_unknown=True)

    async def committed(
        self, *sources: Source, of: UserData[Any] | None = None, identifiers: tuple[str, ...] = ()
    ) -> None:
        """Drop values at once, for a change that has been committed without a session of ours.

        Args:
            sources: what changed, for computed results.
            of: the policy of changed user data.
            identifiers: which of them changed.
        """
        keys = [self._invalidations.source(source.name) for source in sources]
        if of is not None:
            keys += [self._key(of, identifier) for identifier in identifiers]
        await self._invalidations.send(*keys)

    def forget(self, key: Key) -> None:
        """Drop a value within this process; what `Invalidations` hears."""
        if key.entity == SOURCE:
            # Entries and loads that stand on it are known by their mark.
            self._changes[key.identifier] += 1
            return
        name = (key.entity, key.version, key.identifier)
        self._local.drop(name)
        if flight := self._flights.pop(name, None):
            flight.outdated = True

    def connected(self) -> None:
        """Begin anew: what was missed is not known."""
        self._begin_anew()
        self._hearing.set()

    def disconnected(self) -> None:
        """Begin anew, and keep values for a moment only."""
        self._hearing.clear()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._local.clear()
        for flight in self._flights.values():
            flight.outdated = True
        self._flights.clear()

    def _key(self, policy: Policy[Any], identifier: str) -> Key:
        return self.store.key(policy.entity, identifier, policy.version)

    def _mark(self, sources: tuple[Source, ...]) -> tuple[int, ...]:
        return tuple(self._changes[source.name] for source in sources)

    async def _look(
        self, flight: _Flight, name: Name, policy: Policy[Any], load: Loader[Any]
    ) -> None:
        """Give the flight what Redis has, or the task that loads it."""
        key = self._key(policy, name[2])
        sources = [self._invalidations.source(source.name) for source in policy.sources]
        self._flights[name] = flight
        generation: bytes | None = None
        try:
            # Redis may still hold what this process has seen change.
            if not (self.pending and any(map(self._invalidations.is_pending, (key, *sources)))):
                try:
                    flight.found, generation = await self._remote.read(key, policy, sources)
                except (RedisUnavailable, RedisError) as error:
                    self._log(error)
            if flight.found is not None:
                lasting = self._hit(flight.found, key, policy, load)
                self._keep(flight, name, policy, flight.found.value, lasting)
            else:
                flight.task = asyncio.create_task(
                    self._fly(flight, name, key, policy, load, generation)
                )
                # Nobody asks for the error when all who waited were cancelled.
                flight.task.add_done_callback(lambda done: done.cancelled() or done.exception())
        finally:
            if flight.task is None:
                self._land(flight, name)
            flight.looked.set()

    async def _fly(
        self,
        flight: _Flight,
        name: Name,
        key: Key,
        policy: Policy[Any],
        load: Loader[Any],
        generation: bytes | None,
    ) -> Any:
        try:
            value, lasting = await self._fetch(key, policy, load, generation)
            self._keep(flight, name, policy, value, lasting)
            return value
        finally:
            self._land(flight, name)

    def _land(self, flight: _Flight, name: Name) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]

    def _keep(
        self, flight: _Flight, name: Name, policy: Policy[Any], value: Any, lasting: float
    ) -> None:
        seconds = self._seconds(policy, value, lasting)
        if seconds and not self._is_old(flight, policy):
            self._local.put(name, value, seconds, flight.mark)

    def _is_old(self, flight: _Flight, policy: Policy[Any]) -> bool:
        return flight.outdated or flight.mark != self._mark(policy.sources)

    def _seconds(self, policy: Policy[Any], value: Any, lasting: float) -> float:
        """How long a value may stay within this process."""
        if policy.local is None or (value is None and policy.absent is None):
            return 0
        bound = self.store.settings.local_ttl if self.is_hearing else ALONE
        return min(policy.local.seconds, bound, lasting)

    async def _fetch(
        self, key: Key, policy: Policy[Any], load: Loader[Any], generation: bytes | None
    ) -> tuple[Any, float]:
        """The value, and how many seconds it lasts in Redis; without a generation Redis is out."""
        if generation is None:
            return await self._load(load), ALONE
        try:
            lease, found = await self._remote.turn(key, policy, generation)
        except (RedisUnavailable, RedisError) as error:
            self._log(error)
            return await self._load(load), ALONE
        if found is not None:
            return found.value, self._hit(found, key, policy, load)
        self.store.counts["misses"] += 1
        return await self._load_and_store(key, policy, load, generation, lease)

    def _hit(self, found: Found, key: Key, policy: Policy[Any], load: Loader[Any]) -> float:
        """How many seconds it lasts in Redis; perhaps it is loaded again ahead of that."""
        self.store.counts["hits"] += 1
        if found.envelope.is_due(now()):
            self._refresh_early(key, policy, load, found.envelope.generation)
        return found.lasting

    async def _load(self, load: Loader[Any]) -> Any:
        self.store.counts["loads"] += 1
        return await load()

    async def _load_and_store(
        self,
        key: Key,
        policy: Policy[Any],
        load: Loader[Any],
        generation: bytes,
        lease: str | None,
    ) -> tuple[Any, float]:
        begun = time.monotonic()
        try:
            value = await self._load(load)
        except BaseException:
            if lease is not None:
                await self._remote.release(key, lease)
            raise
        if lease is None:
            return value, ALONE
        cost = time.monotonic() - begun
        lasting = await self._remote.keep(key, policy, value, cost, generation, lease)
        return value, ALONE if lasting is None else lasting

    def _refresh_early(
        self, key: Key, policy: Policy[Any], load: Loader[Any], generation: bytes
    ) -> None:
        async def refresh() -> None:
            try:
                lease = await self._remote.lease(key, policy)
                if lease is not None:
                    self.store.counts["refreshes"] += 1
                    await self._load_and_store(key, policy, load, generation, lease)
            except (RedisUnavailable, RedisError) as error:
                self._log(error)
            except Exception:  # the value that is there is still good
                logger.exception("%s could not be loaded again ahead of its end", key)

        task = asyncio.create_task(refresh())
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    def _log(self, error: Exception) -> None:
        logger.debug("the cache goes on without Redis: %s", error)


def cached(
    policy: Policy[Value], *, by: Callable[Parameters, str]
) -> Callable[
    [Callable[Parameters, Awaitable[Value]]],
    Callable[Concatenate[Cache, Parameters], Coroutine[Any, Any, Value]],
]:
    """Make a loader a cached one, which takes the cache as its first argument.

        @cached(PROFILES, by=lambda database, user: user)
        async def profile(database: Database, user: str) -> Profile: ...

        await profile(cache, database, "user-123")

    Args:
        policy: what kind of data it gives.
        by: the identifier, from the arguments of the loader.
    """

    def decorate(
        load: Callable[Parameters, Awaitable[Value]],
    ) -> Callable[Concatenate[Cache, Parameters], Coroutine[Any, Any, Value]]:
        @functools.wraps(load)
        async def get(
            cache: Cache, /, *args: Parameters.args, **kwargs: Parameters.kwargs
        ) -> Value:
            return await cache.get(policy, by(*args, **kwargs), lambda: load(*args, **kwargs))

        return get

    return decorate


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    # More than once: redis-py now and then swallows the cancellation of what waits for an answer.
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.5)
