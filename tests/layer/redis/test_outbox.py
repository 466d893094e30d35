"""Messages of the outbox on their way through Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import URL, MetaData

from my_project.data_layer.database import Base, Database
from my_project.data_layer.redis import (
    Cache,
    Computed,
    RedisSettings,
    RedisUnavailable,
    Source,
    Store,
    TimeToLive,
)
from my_project.data_layer.redis.live import Live
from my_project.data_layer.redis.outbox import invalidation, live, stream, stream_key
from my_project.data_layer.sagas import Message, SagaSettings, Topic, outbox, publish_all, run_relay
from my_project.data_layer.sagas.models import Own
from my_project.data_layer.sagas.operating import backlog
from tests.data_layer.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.process import NUMBER, publishing, relaying, start

pytestmark = pytest.mark.usefixtures("redis_in_environment")

SETTINGS = SagaSettings(_env_file=None, poll=0.1)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Declare nothing for the tests that come after."""
    monkeypatch.setattr(Base, "metadata", MetaData())
    there = dict(outbox.TOPICS)
    outbox.TOPICS.clear()
    yield
    outbox.TOPICS.clear()
    outbox.TOPICS.update(there)


@pytest.fixture
async def relayed(empty_database_url: URL) -> AsyncIterator[Database]:
    """A database with an outbox."""
    async with Database.open(settings_of(empty_database_url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Own.metadata.create_all)
        yield database


async def relay(database: Database, topic: Topic, *messages: tuple[str, object]) -> None:
    async with database.transaction() as session:
        await publish_all(session, topic, messages)
    stop = asyncio.Event()
    task = asyncio.create_task(run_relay(database, stop, SETTINGS))

    async with asyncio.timeout(PATIENCE):
        while not await _is_drained(database):
            await asyncio.sleep(0.02)
    stop.set()
    await task


async def _is_drained(database: Database) -> bool:
    async with database.read_only() as session:
        return not await backlog(session)


async def test_a_stream_gets_the_messages_in_order_and_expires(
    relayed: Database, store: Store
) -> None:
    topic = Topic("tests.stream", stream())
    await relay(relayed, topic, ("one", {"a": 1}), ("two", [None]), ("one", "x"))
    key = stream_key(store, "tests.stream")
    found: Any = await store.client.xrange(key)
    assert [(fields[b"key"], fields[b"payload"]) for _, fields in found] == [
        (b"one", b'{"a":1}'),
        (b"two", b"[null]"),
        (b"one", b'"x"'),
    ]
    assert len({fields[b"id"] for _, fields in found}) == 3
    assert 0 < await store.client.pttl(key) <= 24 * 3600 * 1000


async def test_live_messages_reach_who_listens(relayed: Database, store: Store) -> None:
    topic = Topic("tests.live", live())
    async with Live.open(store) as channels, channels.subscribe("prices") as subscription:
        await relay(relayed, topic, ("prices", {"last": 3}))
        async with asyncio.timeout(PATIENCE):
            assert (await anext(subscription)).data == '{"last":3}'


@pytest.mark.standard("DL-SA-13")
async def test_an_invalidation_follows_a_commit_although_its_process_and_a_relay_die(
    relayed: Database, store: Store, redis_settings: RedisSettings
) -> None:
    numbers = [1]

    async def load() -> int:
        return numbers[-1]

    url = relayed.engine.url.render_as_string(hide_password=False)
    async with Cache.open(store) as cache:
        await cache.hearing()
        assert await cache.get(NUMBER, "surely", load) == 1
        numbers.append(2)
        for dying in (
            start(redis_settings, publishing, url),
            start(redis_settings, relaying, url, True),
        ):
            dying.join(PATIENCE)
            assert dying.exitcode == -9
        assert await cache.get(NUMBER, "surely", load) == 1
        relay = start(redis_settings, relaying, url, False)
        try:
            async with asyncio.timeout(PATIENCE):
                while await cache.get(NUMBER, "surely", load) == 1:
                    await asyncio.sleep(0.02)
        finally:
            relay.kill()
            relay.join()


async def test_an_invalidation_waits_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    async with invalidation(NUMBER)() as drop:
        with pytest.raises(RedisUnavailable):
            await drop(Message(1, "tests.changed", "one", None))


async def test_what_is_computed_from_a_source_goes_with_its_message(
    relayed: Database, store: Store
) -> None:
    tape = Source("tape")
    last = Computed("last", int, TimeToLive(timedelta(minutes=5)), of=(tape,), local=None)
    numbers = [1]

    async def load() -> int:
        return numbers[-1]

    async with Cache.open(store) as cache:
        assert await cache.get(last, "one", load) == 1
        numbers.append(2)
        assert await cache.get(last, "one", load) == 1
        await relay(relayed, Topic("tests.tape", invalidation(tape)), ("any", None))
        assert await cache.get(last, "one", load) == 2
