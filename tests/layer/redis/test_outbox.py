"""Messages of the outbox on their way through Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import URL, MetaData

from my_project.data_layer.database import Base, Database
from my_project.data_layer.redis import Store
from my_project.data_layer.redis.live import Live
from my_project.data_layer.redis.outbox import live, stream, stream_key
from my_project.data_layer.sagas import SagaSettings, Topic, outbox, publish_all, run_relay
from my_project.data_layer.sagas.models import Own
from my_project.data_layer.sagas.operating import backlog
from tests.data_layer.fixtures import settings_of
from tests.layer import PATIENCE

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
