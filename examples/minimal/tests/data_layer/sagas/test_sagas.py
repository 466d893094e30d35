"""Sagas and the outbox work here, on a database of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import URL, MetaData, select

from .. import layer
from ..fixtures import settings_of

SECONDS = 60


class Trip(BaseModel):
    """Where it goes."""

    to: str


@pytest.fixture
async def own(
    empty_database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[layer.database.Database]:
    """A database with the tables of sagas; the test's declarations are forgotten afterwards."""
    monkeypatch.setattr(layer.database.Base, "metadata", MetaData())
    registers: list[dict[Any, Any]] = [layer.saga_declarations.SAGAS, layer.saga_outbox.TOPICS]
    before = [dict(register) for register in registers]
    for register in registers:
        register.clear()
    async with layer.database.Database.open(settings_of(empty_database_url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(layer.saga_models.Own.metadata.create_all)
        yield database
    for register, declared in zip(registers, before, strict=True):
        register.clear()
        register.update(declared)


@pytest.mark.standard("DL-SA-11")
async def test_a_saga_that_is_refused_undoes_what_it_did(own: layer.database.Database) -> None:
    trip = layer.sagas.Saga("tests.trip", Trip)
    called: list[tuple[str, object]] = []

    async def cancel(call: layer.sagas.UndoCall[Trip]) -> None:
        called.append((f"cancel {call.result(hotel)}", call.key))

    @trip.remote(undo=cancel)
    async def hotel(call: layer.sagas.StepCall[Trip]) -> str:
        called.append((f"hotel in {call.arguments.to}", call.key))
        return "room 12"

    @trip.local(undo=layer.sagas.Undo.NOTHING)
    async def note(session: layer.database.WriteSession, call: layer.sagas.StepCall[Trip]) -> None:
        raise layer.sagas.Refused("no more money")

    stop = asyncio.Event()
    worker = asyncio.create_task(layer.sagas.run_worker(own, stop))
    async with own.transaction() as session:
        await trip.start(session, Trip(to="Rome"), key="one")
    status = select(layer.saga_models.SagaRow.status)
    async with asyncio.timeout(SECONDS):
        while await _first(own, status) == "active":  # noqa: ASYNC110 (the answer is in a table)
            await asyncio.sleep(0.02)
    await _end(worker, stop)
    assert await _first(own, status) == "compensated"
    assert [what for what, _ in called] == ["hotel in Rome", "cancel room 12"]
    assert len({key for _, key in called}) == 1


@pytest.mark.standard("DL-SA-13")
async def test_a_message_is_delivered_if_its_transaction_commits(
    own: layer.database.Database,
) -> None:
    delivered: list[object] = []
    arrived = asyncio.Event()

    async def deliver(message: layer.sagas.Message) -> None:
        delivered.append(message.payload)
        arrived.set()

    topic = layer.sagas.Topic("tests.topic", layer.sagas.calling(deliver))
    with pytest.raises(ZeroDivisionError):
        await _publish(own, topic, fails=True)
    await _publish(own, topic)
    stop = asyncio.Event()
    relay = asyncio.create_task(layer.sagas.run_relay(own, stop))
    async with asyncio.timeout(SECONDS):
        await arrived.wait()
    await _end(relay, stop)
    assert delivered == [{"fails": False}]


async def _publish(
    database: layer.database.Database, topic: layer.sagas.Topic, *, fails: bool = False
) -> None:
    async with database.transaction() as session:
        await layer.sagas.publish(session, topic, key="one", payload={"fails": fails})
        if fails:
            raise ZeroDivisionError


async def _first(database: layer.database.Database, query: Any) -> object:
    async with database.read_only() as session:
        found: object = await session.scalar(query)
        return found


async def _end(task: Awaitable[None], stop: asyncio.Event) -> None:
    stop.set()
    await task
