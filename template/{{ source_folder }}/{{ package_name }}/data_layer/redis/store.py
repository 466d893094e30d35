"""The store: every operation on Redis ends in time, and none begins while Redis is down."""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

from redis import exceptions

from ..settings import load
from .connection import Client, connect
from .errors import RedisUnavailable
from .keys import Key
from .settings import RedisSettings

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

# Errors of the server, not of the command.
_DOWN = (
    OSError,
    exceptions.AuthenticationError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.ClusterError,
    exceptions.ConnectionError,
    exceptions.MasterDownError,
    exceptions.NoPermissionError,
    exceptions.ReadOnlyError,
    exceptions.RedisClusterException,
    exceptions.TimeoutError,
)
# Further errors of the server, for which redis-py has no class: a full disk, missing replicas, a
# script of another program that does not end, missing rights in a script. A pipeline puts its own
# words before them.
_AT_FAULT = re.compile(
    r"(?:^|caused error: )"
    r"(?:MISCONF |NOREPLICAS |BUSY |ACL failure in script|The user executing the script can't run)"
)


class Breaker:
    """Decides whether to try, by how the last attempts ended.

    It opens after `failures` in a row, and nobody tries for `pause` seconds. Then one attempt goes
    through: its success closes the breaker, its failure keeps it open for another pause.
    """

    def __init__(
        self, failures: int, pause: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._allowed = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether attempts are held back."""
        return self._failures >= self._allowed

    def allows(self) -> bool:
        """Whether to try now. After a yes the caller reports `succeeded` or `failed`."""
        if not self.is_open:
            return True
        if (now := self._clock()) < self._try_at:
            return False
        # The one attempt. If it never reports, another may follow after a pause.
        self._try_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """Report that an attempt went well."""
        self._failures = 0

    def failed(self) -> None:
        """Report that an attempt failed."""
        self._failures += 1
        self._try_at = self._clock() + self._pause


class Store:
    """The one way to Redis, with a bound on time; `Store.open()` makes one for each process.

    Attributes:
        settings: what it was opened with.
        client: redis-py's client, only for operations that are given to `run`.
        counts: what happened, by name: `operations`, `failures`, `held_back`, `out_of_memory`, and
            what the users of the store add.
    """

    def __init__(self, settings: RedisSettings, client: Client) -> None:
        self.settings = settings
        self.client = client
        self.counts: Counter[str] = Counter()
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_pause)
        self._places = asyncio.Semaphore(settings.pool_size)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings | None = None) -> AsyncIterator[Self]:
        """A store that is closed at the end; `settings` default to the environment's.

        It opens while the server is down, too.

        Raises:
            InvalidSettings: a setting is missing or wrong.
        """
        chosen = settings or load(RedisSettings)
        async with connect(chosen, bounded=True) as client:
            yield cls(chosen, client)

    @property
    def is_available(self) -> bool:
        """Whether Redis answered the last operations; False while the breaker is open."""
        return not self._breaker.is_open

    def key(self, entity: str, identifier: str, version: int = 1) -> Key:
        """A key of this service."""
        return Key(self.settings.service, entity, identifier, version)

    async def run(self, operation: Callable[[Client], Awaitable[Result]]) -> Result:
        """Run one operation within `REDIS_TIMEOUT`, waiting for a connection included.

        Args:
            operation: a function that is given the client. Its keys come from `key`, and whatever
                it writes gets a `TimeToLive`. After an error it may have run in part, or to its
                end.

        Raises:
            RedisUnavailable: Redis did not answer in time, or the breaker is open. Go on without
                Redis.
            redis.exceptions.ResponseError: the command itself is wrong.
        """
        self.counts["operations"] += 1
        if not self._breaker.allows():
            self.counts["held_back"] += 1
            raise RedisUnavailable(
                "Redis has not answered lately; nobody asks it for up to "
                f"{self.settings.breaker_pause:g} s. See whether the server of REDIS_URL runs."
            )
        try:
            async with asyncio.timeout(self.settings.timeout), self._places:
                result = await operation(self.client)
        except exceptions.OutOfMemoryError as error:
            # The server is well; it has no room for this write.
            self._breaker.succeeded()
            self.counts["out_of_memory"] += 1
            raise RedisUnavailable(
                "Redis is full and evicts nothing; raise its maxmemory, or let it evict by "
                "allkeys-lru."
            ) from error
        except (*_DOWN, exceptions.ResponseError) as error:
            if not isinstance(error, _DOWN) and not _AT_FAULT.search(str(error)):
                self._breaker.succeeded()  # it answered
                raise
            reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            self.counts["failures"] += 1
            was_available = self.is_available
            self._breaker.failed()
            if was_available and not self.is_available:
                logger.warning("Nobody asks Redis for now: %s", reason)
            raise RedisUnavailable(
                f"Redis did not do what it was asked ({reason}); see whether the server of "
                "REDIS_URL runs, and REDIS_PASSWORD is its password."
            ) from error
        if not self.is_available:
            logger.warning("Redis answers again")
        self._breaker.succeeded()
        return result
