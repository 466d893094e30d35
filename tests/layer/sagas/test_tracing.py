"""Each step of a saga as a span, in the trace of the request that started it, however long ago."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from my_project.data_layer import logs, tracing
from my_project.data_layer.database import Database, DatabaseSettings, WriteSession
from my_project.data_layer.sagas import (
    Message,
    Refused,
    Saga,
    StepCall,
    Topic,
    Undo,
    UndoCall,
    calling,
    declarations,
    outbox,
    publish,
    run_relay,
)
from tests.layer.spans import Spans, tracing_on

from .workers import ended, eventually, working

SECRET = "hunter2"


class Given(BaseModel):
    word: str = SECRET
    refused: bool = False


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    with tracing_on(monkeypatch) as spans:
        yield spans


@pytest.fixture
def saga() -> Iterator[Saga[Given]]:
    there = dict(declarations.SAGAS)
    saga = Saga("tests.traced", Given)

    async def forget(session: WriteSession, call: UndoCall[Given]) -> None:
        await session.execute(text("SELECT :word AS undone"), {"word": call.arguments.word})

    @saga.local(undo=forget)
    async def reserve(session: WriteSession, call: StepCall[Given]) -> None:
        await session.execute(text("SELECT :word AS done"), {"word": call.arguments.word})

    @saga.remote(undo=Undo.NOTHING, backoff=0.01)
    async def ask(call: StepCall[Given]) -> str:
        if call.arguments.refused:
            raise Refused(call.arguments.word)
        if call.attempt == 1:
            raise ConnectionError(call.arguments.word)
        return call.arguments.word

    yield saga
    declarations.SAGAS.clear()
    declarations.SAGAS.update(there)


async def started(database: Database, saga: Saga[Given], given: Given, about: str) -> None:
    with logs.about(about), tracing.span("request"):
        async with database.transaction() as session:
            await saga.start(session, given, key=about)


@pytest.fixture
async def traced(spans: Spans, database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A database that was opened while traces are sent, and has answered once."""
    async with Database.open(database_settings) as database:
        async with database.read_only() as session:
            await session.execute(text("SELECT 1"))
        yield database


def outline(spans: Spans) -> list[str]:
    """The tree without the statements, whose names are words of SQL."""
    return [line for line in spans.tree if not line.strip().isupper()]


async def test_steps_are_in_the_trace_of_their_request(
    traced: Database, saga: Saga[Given], spans: Spans
) -> None:
    await started(traced, saga, Given(), "desk-1")
    async with working(traced):
        await ended(traced)
    assert outline(spans) == [
        *("request", "  transaction"),
        *("saga tests.traced", "  transaction", "    step reserve"),
        *("  step ask", "  transaction"),
        # After its pause, by whoever takes it then.
        *("saga tests.traced", "  step ask", "  transaction"),
    ]
    [saga_id] = {(one.attributes or {}).get("saga_id") for one in spans.ended} - {None}
    assert len(str(saga_id)) == 36
    assert {(one.attributes or {})["request_id"] for one in spans.ended} == {"desk-1"}
    assert len(spans.traces) == 1
    asked = [one for one in spans.ended if one.name == "step ask"]
    assert [(one.attributes or {}).get("error.type") for one in asked] == ["ConnectionError", None]
    assert [(one.attributes or {})["attempt"] for one in asked] == [1, 2]
    [reserved] = [line for line in spans.tree if line.startswith("      ")]
    assert reserved == "      SELECT"
    assert SECRET not in spans.text


async def test_what_is_undone_is_a_span_too(
    traced: Database, saga: Saga[Given], spans: Spans
) -> None:
    await started(traced, saga, Given(refused=True), "desk-2")
    async with working(traced):
        await ended(traced)
    assert outline(spans)[-3:] == ["  transaction", "  transaction", "    undo reserve"]
    assert (spans.named("step ask").attributes or {})["error.type"] == "Refused"
    assert SECRET not in spans.text


async def test_a_saga_that_no_request_started_is_a_trace_of_its_own(
    traced: Database, saga: Saga[Given], spans: Spans
) -> None:
    async with traced.transaction() as session:
        started = await saga.start(session, Given(), key="one")
    async with working(traced):
        await ended(traced)
    assert spans.traces == {started.hex}


async def test_a_message_is_delivered_in_the_trace_of_its_request(
    traced: Database, spans: Spans
) -> None:
    heard: list[str] = []

    async def receive(message: Message) -> None:
        heard.append(message.key)
        if len(heard) == 1:
            raise ValueError(message.payload)

    there = dict(outbox.TOPICS)
    topic = Topic("tests.traced", calling(receive))
    try:
        with logs.about("desk-3"), tracing.span("request"):
            async with traced.transaction() as session:
                await publish(session, topic, key=SECRET, payload=SECRET)

        async def is_delivered() -> bool:
            return len(heard) == 2

        async with working(traced, run_relay):
            await eventually(is_delivered)
    finally:
        outbox.TOPICS.clear()
        outbox.TOPICS.update(there)
    assert outline(spans) == ["request", "  transaction", *2 * ["deliver tests.traced"]]
    first, second = spans.ended[-2:]
    assert (first.attributes or {})["error.type"] == "ValueError"
    assert second.attributes == {"request_id": "desk-3"}
    assert len(spans.traces) == 1
    assert SECRET not in spans.text
