"""Live messages: every process hears them, and clients that come back in time get them, too.

Pub/sub forgets whoever is not listening. So each message also goes into a short stream. There a
client that reconnects, and a process whose connection to Redis broke, read what they missed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from ..settings import load
from .connection import script
from .errors import RedisUnavailable
from .jsonable import dumps
from .keys import ENTRY_ID, TimeToLive
from .listening import Listener
from .settings import LiveSettings
from .store import Store


@dataclass(frozen=True, slots=True)
class Event:
    """One message: `id` grows within its channel, `data` is JSON."""

    id: str
    data: str

    @property
    def order(self) -> tuple[int, int]:
        """The id as two numbers, by which events are compared."""
        milliseconds, _, sequence = self.id.partition("-")
        return int(milliseconds), int(sequence)


class Subscription:
    """The events of one client: iterate over it.

    It ends when the client falls too far behind, and when the server stops. A client that comes
    back and names its last event misses none.

    Attributes:
        missed: the client wants to resume after an event that is no longer kept.
    """

    def __init__(self, buffer: int) -> None:
        self.missed = False
        self._room = buffer
        self._waiting: deque[Event] = deque()
        self._last = (0, 0)
        self._ended = False
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    def replay(self, events: list[Event]) -> None:
        """Put these events before those that have come in the meantime."""
        if events:
            self._last = events[-1].order
            self._room += len(events)
            later = (event for event in self._waiting if event.order > self._last)
            self._waiting = deque((*events, *later))

    def offer(self, event: Event) -> None:
        """Give the client the event, unless it has it; end the subscription if it is too slow."""
        if self._ended or event.order <= self._last:
            return
        if len(self._waiting) < self._room:
            self._waiting.append(event)
            self._news.set()
        else:
            self.end()

    def end(self) -> None:
        """End the subscription; the client still gets the events that wait for it."""
        self._ended = True
        self._news.set()


@dataclass(slots=True, eq=False)
class _Channel:
    """One subscription of this process, and the clients that share it."""

    clients: set[Subscription] = field(default_factory=set)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    last: Event | None = None

    def deliver(self, event: Event) -> None:
        if self.last is None or event.order > self.last.order:
            self.last = event
            for client in self.clients:
                client.offer(event)


class Live(Listener):
    """Channels of live messages; `Live.open()` makes one for each process.

    However many clients there are, this process has one connection that listens, with one
    subscription for each channel that a client wants; without clients it has no connection.
    """

    def __init__(self, store: Store, settings: LiveSettings) -> None:
        super().__init__(store)
        self._settings = settings
        self._script = script(store.client, "publish")
        self._ttl = TimeToLive(timedelta(seconds=settings.ttl))
        self._channels: dict[str, _Channel] = {}
        self._ended = False

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store, settings: LiveSettings | None = None) -> AsyncIterator[Self]:
        """Live channels on the server of `store`; nothing connects before somebody subscribes."""
        live = cls(store, settings or load(LiveSettings))
        async with live.listening():
            yield live

    @property
    def clients(self) -> int:
        """How many clients subscribe in this process."""
        return sum(len(channel.clients) for channel in self._channels.values())

    def key(self, channel: str) -> str:
        """The name of the channel in Redis, and of the stream that keeps its last events."""
        return str(self.store.key("live", channel))

    def end(self) -> None:
        """End every subscription, and each later one at once, since the server stops."""
        self._ended = True
        for channel in self._channels.values():
            for client in channel.clients:
                client.end()

    async def publish(self, channel: str, data: Any) -> str:
        """Send `data`, as JSON, to all who subscribe to the channel; return the event's id.

        Call it after the transaction has committed, never before.

        Raises:
            NotJson: JSON has no such value; nothing was sent.
            RedisUnavailable: perhaps nobody got it.
        """
        key = self.key(channel)
        text = dumps(data, f"The message for {channel}")
        arguments: list[str | int] = [text, self._settings.kept, self._ttl.milliseconds]
        identifier: bytes = await self.store.run(lambda _: self._script(keys=[key], args=arguments))
        return identifier.decode()

    @asynccontextmanager
    async def subscribe(
        self, channel: str, *, after: str | None = None
    ) -> AsyncIterator[Subscription]:
        """The events of the channel from now on, or those after the event with the id `after`.

        Raises:
            RedisUnavailable: Redis does not answer now. The subscription survives later outages.
        """
        key = self.key(channel)
        shared = self._channels.setdefault(key, _Channel())
        client = Subscription(self._settings.buffer)
        shared.clients.add(client)
        self._want(key)
        try:
            await self._until_ready(shared)
            if after:
                client.replay(await self._missed_by(client, key, after))
            if self._ended:
                client.end()
            yield client
        finally:
            shared.clients.discard(client)
            self._want(key, bool(shared.clients))

    async def _until_ready(self, channel: _Channel) -> None:
        settings = self.store.settings
        try:
            async with asyncio.timeout(settings.connect_timeout + settings.timeout):
                await channel.ready.wait()
        except TimeoutError:
            raise RedisUnavailable(
                "Redis does not answer, so there is nothing to listen to; see REDIS_URL."
            ) from None

    async def _missed_by(self, client: Subscription, key: str, after: str) -> list[Event]:
        events = await self._kept(key, after) if ENTRY_ID.fullmatch(after) else []
        if events and events[0].id == after:
            return events[1:]
        client.missed = True
        return events

    async def _kept(self, key: str, start: str) -> list[Event]:
        found: Any = await self.store.run(lambda client: client.xrange(key, min=start))
        return [_event(*one) for one in found]

    async def _subscribed(self, channel: str) -> None:
        if (shared := self._channels.get(channel)) is None:
            return
        if shared.last is None:
            newest: Any = await self.store.run(lambda client: client.xrevrange(channel, count=1))
            shared.last = _event(*newest[0]) if newest else Event("0-0", "")
        else:
            # The connection was lost for a while.
            for event in await self._kept(channel, shared.last.id):
                shared.deliver(event)
        shared.ready.set()

    async def _unsubscribed(self, channel: str) -> None:
        if (shared := self._channels.get(channel)) and not shared.clients:
            del self._channels[channel]

    async def _heard(self, channel: str, data: bytes) -> None:
        if shared := self._channels.get(channel):
            identifier, _, text = data.decode().partition(" ")
            shared.deliver(Event(identifier, text))

    def _lost(self) -> None:
        self._channels = {key: one for key, one in self._channels.items() if one.clients}
        for channel in self._channels.values():
            channel.ready.clear()


def _event(identifier: bytes, fields: dict[bytes, bytes]) -> Event:
    return Event(identifier.decode(), fields[b"data"].decode())
