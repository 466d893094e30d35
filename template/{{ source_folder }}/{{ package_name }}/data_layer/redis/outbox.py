"""Where the messages of the outbox can go: a stream, live messages, or the cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from ..sagas import Deliver, Message, Target
from .connection import Client
from .jsonable import dumps
from .keys import TimeToLive
from .live import Live
from .policies import Source, UserData
from .shared import Shared
from .store import Store

_DAY = TimeToLive(timedelta(days=1))


def stream(*, kept: int = 100_000, ttl: TimeToLive = _DAY) -> Target:
    """A target that appends each message to the stream of its topic; `stream_key` gives its key.

    An entry has the fields `id`, `key` and `payload`, which is JSON. If a reader of a key has seen
    an `id` already, that message was delivered twice.

    Args:
        kept: entries that a stream keeps; the oldest go first.
        ttl: how long a stream stays after its last message.
    """

    @asynccontextmanager
    async def target() -> AsyncIterator[Deliver]:
        async with Store.open() as store:

            async def append(message: Message) -> None:
                key = stream_key(store, message.topic)
                payload = dumps(message.payload, f"A message of {message.topic}")
                fields: dict[Any, Any] = {"id": message.id, "key": message.key, "payload": payload}

                async def send(client: Client) -> None:
                    # Entered, so that a cluster's client learns its nodes before the first command.
                    async with client.pipeline(transaction=True) as pipe:
                        pipe.xadd(key, fields, maxlen=kept)
                        pipe.pexpire(key, ttl.milliseconds)
                        await pipe.execute()

                await store.run(send)

            yield append

    return target


def stream_key(store: Store, topic: str) -> str:
    """The name of the stream in Redis."""
    return str(store.key("outbox", topic))


def live() -> Target:
    """A target that sends each message live, to the channel that is its key."""

    @asynccontextmanager
    async def target() -> AsyncIterator[Deliver]:
        async with Store.open() as store, Live.open(store) as channels:

            async def send(message: Message) -> None:
                await channels.publish(message.key, message.payload)

            yield send

    return target


def invalidation(of: UserData[Any] | Source) -> Target:
    """A target that drops cached values without fail: a message waits until Redis has dropped them.

    Args:
        of: a policy: its value whose identifier is the message's key is dropped. Or a source: all
            that is computed from it is dropped.
    """

    @asynccontextmanager
    async def target() -> AsyncIterator[Deliver]:
        async with Store.open() as store:
            shared = Shared(store)

            async def drop(message: Message) -> None:
                if isinstance(of, Source):
                    await shared.drop_now([shared.source(of.name)])
                else:
                    await shared.drop_now([store.key(of.entity, message.key, of.version)])

            yield drop

    return target
