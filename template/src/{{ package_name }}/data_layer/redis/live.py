"""Live messages: published once, seen by every process, and by those who come back in time.

Pub/sub forgets whoever is not listening. So each message goes into a short stream too: a client
that reconnects, and a process whose connection to Redis broke, read there what they missed.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Self

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisClusterException, RedisError

from ..settings import Settings, load
from .connection import Client, connect, is_cancelled
from .errors import RedisUnavailable
from .jsonable import dumps
from .keys import TimeToLive
from .store import Store

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0
# With 20 digits it may be more than Redis takes, which no clock has come to.
_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


class LiveSettings(Settings):
    """`REDIS_LIVE_*`: what is kept for those who come back, and how far a client may fall behind.

    Attributes:
        kept: events of one channel that are kept, about.
        ttl: seconds after its last event that a channel is forgotten.
        buffer: events that wait for one client before it is let go; it comes back and resumes.
        silence: seconds without an answer after which the connection to Redis counts as lost.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_LIVE_")

    kept: int = Field(default=1000, ge=1, le=100_000)
    ttl: int = Field(default=300, ge=1, le=86_400)
    buffer: int = Field(default=100, ge=1, le=100_000)
    silence: float = Field(default=10.0, ge=0.5, le=600)


@dataclass(frozen=True, slots=True)
class Event:
    """One message: `id` grows within its channel, `data` is JSON."""

    id: str
    data: str

    @property
    def order(self) -> tuple[int, int]:
        """The id as what it is compared by."""
        return _order(self.id)


class Subscription:
    """What one client gets: iterate over it.

    It ends when the client fell too far behind; who resumes after the last event misses none.

    Attributes:
        missed: the client wanted to resume after an event that is no longer kept.
    """

    def __init__(self, buffer: int) -> None:
        self.missed = False
        self._room = buffer
        self._waiting: deque[Event] = deque()
        self._last = (0, 0)
        self._replaying = True
        self._ended = False
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while self._replaying or not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    def replay(self, events: list[Event]) -> None:
        """Begin with these, then go on with what came in the meantime."""
        meanwhile, self._waiting = self._waiting, deque()
        self._room += len(events)
        self._replaying = False
        for event in (*events, *meanwhile):
            self.offer(event)
        self._news.set()

    def offer(self, event: Event) -> None:
        """Give the client one more, unless it has it, or is too slow for any more."""
        if self._ended or (not self._replaying and event.order <= self._last):
            return
        if len(self._waiting) >= self._room:
            self._ended = True
        else:
            self._waiting.append(event)
            if not self._replaying:
                self._last = event.order
        self._news.set()


@dataclass(slots=True, eq=False)
class _Channel:
    """One subscription of this process, and the clients that share it."""

    clients: set[Subscription] = field(default_factory=set)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    last: str | None = None

    def deliver(self, event: Event) -> None:
        if self.last is not None and event.order <= _order(self.last):
            return
        self.last = event.id
        for client in self.clients:
            client.offer(event)


class Live:
    """Channels of live messages; `Live.open()` makes one for each process.

    However many clients there are, this process has one connection that listens, with one
    subscription for each channel that anybody wants, and none while nobody does.
    """

    def __init__(self, store: Store, client: Client, settings: LiveSettings) -> None:
        self.store = store
        self._client = client
        self._settings = settings
        self._script = store.client.register_script(
            Path(__file__).with_name("publish.lua").read_text(encoding="utf-8")
        )
        self._ttl = TimeToLive(timedelta(seconds=settings.ttl))
        self._channels: dict[str, _Channel] = {}
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store, settings: LiveSettings | None = None) -> AsyncIterator[Self]:
        """Live channels on the server of `store`; nothing connects before somebody subscribes."""
        # Of its own: a subscription holds its connection, which the store's operations would miss.
        async with connect(store.settings) as client:
            live = cls(store, client, settings or load(LiveSettings))
            try:
                yield live
            finally:
                await live._stop()

    @property
    def clients(self) -> int:
        """How many subscribe in this process."""
        return sum(len(channel.clients) for channel in self._channels.values())

    @property
    def is_listening(self) -> bool:
        """Whether this process has a connection that listens, or tries to get one."""
        return self._reader is not None and not self._reader.done()

    def key(self, channel: str) -> str:
        """The name of the channel in Redis, and of the stream that keeps its last events."""
        return str(self.store.key("live", channel))

    async def stopped(self) -> None:
        """Return when this process listens no more, because nobody subscribes."""
        if self._reader is not None:
            await asyncio.wait([self._reader])

    async def publish(self, channel: str, data: Any) -> str:
        """Send `data`, as JSON, to all who subscribe to the channel; return the event's id.

        After the transaction has committed, never before.

        Raises:
            NotJson: JSON has no such value; nothing was sent.
            RedisUnavailable: nobody may have got it.
        """
        key = self.key(channel)
        arguments: list[str | int] = [
            dumps(data, f"The message for {channel}"),
            self._settings.kept,
            self._ttl.milliseconds,
        ]
        identifier: bytes = await self.store.run(lambda _: self._script(keys=[key], args=arguments))
        return identifier.decode()

    @asynccontextmanager
    async def subscribe(
        self, channel: str, *, after: str | None = None
    ) -> AsyncIterator[Subscription]:
        """What is published to the channel from now on, or after the event with the id `after`.

        Raises:
            RedisUnavailable: Redis does not answer now; later interruptions are bridged.
        """
        key = self.key(channel)
        shared = self._channels.setdefault(key, _Channel())
        client = Subscription(self._settings.buffer)
        shared.clients.add(client)
        try:
            self._changed.set()
            if not self.is_listening:
                self._reader = asyncio.create_task(self._read())
            await self._until_ready(shared)
            client.replay(await self._kept(key, after, client) if after else [])
            yield client
        finally:
            shared.clients.discard(client)
            if not shared.clients and self._channels.get(key) is shared:
                del self._channels[key]
                self._changed.set()

    async def _until_ready(self, channel: _Channel) -> None:
        settings = self.store.settings
        try:
            async with asyncio.timeout(settings.connect_timeout + settings.timeout):
                await channel.ready.wait()
        except TimeoutError:
            raise RedisUnavailable(
                "Redis does not answer, so there is nothing to listen to; see REDIS_URL."
            ) from None

    async def _kept(self, key: str, after: str, client: Subscription) -> list[Event]:
        if not _ID.fullmatch(after):
            client.missed = True
            return []
        events = await self._range(key, after)
        if events and events[0].id == after:
            return events[1:]
        client.missed = True
        return events

    async def _range(self, key: str, start: str) -> list[Event]:
        found: Any = await self.store.run(lambda client: client.xrange(key, min=start))
        return [
            Event(identifier.decode(), fields[b"data"].decode()) for identifier, fields in found
        ]

    async def _stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader

    async def _read(self) -> None:
        pause = 0.0
        while self._channels and not is_cancelled():
            try:
                if isinstance(self._client, RedisCluster):
                    # Only then does it know a node to subscribe at; any node hears them all.
                    await self._client.initialize()
                async with self._client.pubsub() as pubsub:
                    await self._follow(pubsub)
                    pause = 0.0
            except (RedisError, RedisClusterException, RedisUnavailable, OSError) as error:
                for channel in self._channels.values():
                    channel.ready.clear()
                pause = min(max(2 * pause, 0.1), LONGEST_PAUSE)
                logger.warning(
                    "live messages wait %.1f s for Redis: %s", pause, type(error).__name__
                )
                await asyncio.sleep(pause)

    async def _follow(self, pubsub: Any) -> None:
        """Listen until nobody wants to any more.

        Raises:
            redis.exceptions.ConnectionError: the connection broke, or nothing is heard on it.
        """
        subscribed: dict[str, _Channel] = {}
        reading: asyncio.Task[Any] | None = None
        asked = heard = monotonic()
        beat = self._settings.silence / 3
        try:
            while self._channels and not is_cancelled():
                self._changed.clear()
                wanted = dict(self._channels)
                # A channel that was left and wanted again at once is another one.
                if new := [key for key in wanted if subscribed.get(key) is not wanted[key]]:
                    await pubsub.subscribe(*new)
                if old := subscribed.keys() - wanted.keys():
                    await pubsub.unsubscribe(*old)
                subscribed = wanted
                if monotonic() - heard > self._settings.silence:
                    raise NoConnection("nothing heard")
                if monotonic() - asked > beat:
                    asked = monotonic()
                    await pubsub.ping()
                reading = reading or asyncio.create_task(pubsub.get_message(timeout=beat))
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({reading, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if reading.done():
                    message, reading = reading.result(), None
                    if message is not None:
                        heard = monotonic()
                        await self._take(message)
        finally:
            if reading is not None:
                reading.cancel()
                with suppress(asyncio.CancelledError, RedisError, OSError):
                    await reading

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] not in {"subscribe", "message"}:
            return
        key = message["channel"].decode()
        channel = self._channels.get(key)
        if channel is None:
            return
        if message["type"] == "message":
            identifier, _, data = message["data"].decode().partition(" ")
            channel.deliver(Event(identifier, data))
            return
        if channel.last is None:
            newest: Any = await self.store.run(lambda client: client.xrevrange(key, count=1))
            channel.last = newest[0][0].decode() if newest else "0-0"
        else:
            # The connection was lost for a while.
            for event in await self._range(key, channel.last):
                channel.deliver(event)
        channel.ready.set()


def _order(identifier: str) -> tuple[int, int]:
    milliseconds, _, sequence = identifier.partition("-")
    return int(milliseconds), int(sequence)
