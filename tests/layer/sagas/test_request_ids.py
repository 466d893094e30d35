"""The id of the request that started a saga or published a message, in what is done for it."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from sqlalchemy import select

from my_project.data_layer import logs
from my_project.data_layer.database import Database, WriteSession
from my_project.data_layer.sagas import (
    Message,
    Saga,
    StepCall,
    Topic,
    Undo,
    calling,
    declarations,
    outbox,
    publish,
    run_relay,
)
from my_project.data_layer.sagas.models import SagaRow

from .workers import ended, eventually, working


class Nothing(BaseModel):
    """No arguments."""


Seen = list[tuple[str, str | None]]


@pytest.fixture
def seen() -> Seen:
    """What was done, and for whom."""
    return []


@pytest.fixture
def saga(seen: Seen) -> Iterator[Saga[Nothing]]:
    there = dict(declarations.SAGAS)
    saga = Saga("tests.seen", Nothing)

    @saga.remote(undo=Undo.NOTHING)
    async def ask(call: StepCall[Nothing]) -> None:
        seen.append(("ask", logs.request_id()))

    @saga.local(undo=Undo.NOTHING)
    async def note(session: WriteSession, call: StepCall[Nothing]) -> None:
        seen.append(("note", logs.request_id()))

    yield saga
    declarations.SAGAS.clear()
    declarations.SAGAS.update(there)


async def test_steps_are_about_the_request_that_started_the_saga(
    database: Database, saga: Saga[Nothing], seen: Seen
) -> None:
    with logs.about("desk-1"):
        async with database.transaction() as session:
            started = await saga.start(session, Nothing(), key="one")
    async with working(database):
        await ended(database)
    assert seen == [("ask", "desk-1"), ("note", "desk-1")]
    async with database.read_only() as session:
        stored = await session.scalar(select(SagaRow.request_id).where(SagaRow.id == started))
    assert stored == "desk-1"


async def test_a_saga_that_no_request_started_is_about_itself(
    database: Database, saga: Saga[Nothing], seen: Seen
) -> None:
    async with database.transaction() as session:
        started = [await saga.start(session, Nothing(), key=key) for key in ("one", "two")]
    async with working(database):
        await ended(database)
    expected = [(step, str(one)) for one in started for step in ("ask", "note")]
    assert sorted(seen, key=str) == sorted(expected, key=str)


async def test_a_message_brings_the_id_along(database: Database, seen: Seen) -> None:
    async def receive(message: Message) -> None:
        seen.append((message.key, logs.request_id()))
        seen.append((f"{message.key}, as sent", message.request_id))

    there = dict(outbox.TOPICS)
    topic = Topic("tests.seen", calling(receive))
    try:
        async with database.transaction() as session:
            await publish(session, topic, key="nobody's", payload=1)
            with logs.about("desk-2"):
                await publish(session, topic, key="theirs", payload=2)

        async def are_delivered() -> bool:
            return len(seen) == 4

        async with working(database, run_relay):
            await eventually(are_delivered)
    finally:
        outbox.TOPICS.clear()
        outbox.TOPICS.update(there)
    of = dict(seen)
    assert of["theirs"] == of["theirs, as sent"] == "desk-2"
    assert str(of["nobody's"]).startswith("tests.seen ")
    assert of["nobody's, as sent"] is None
