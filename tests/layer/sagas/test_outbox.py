"""The outbox: what was committed, and nothing else, at least once, in order per key."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from my_project.data_layer.database import Database, Violation
from my_project.data_layer.sagas import (
    Message,
    SagaSettings,
    Topic,
    calling,
    operating,
    outbox,
    publish,
    publish_all,
    run_relay,
)
from my_project.data_layer.sagas.models import OutboxRow

from . import bank
from .workers import SETTINGS, eventually, process, working

KEYS = 4
WRITERS = 8
EACH = 12


async def drained(database: Database) -> None:
    async def is_empty() -> bool:
        async with database.read_only() as session:
            waiting = select(func.count()).where(~OutboxRow.parked)
            return not await session.scalar(waiting)

    await eventually(is_empty)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Message]]:
    received: list[Message] = []

    async def receive(message: Message) -> None:
        if message.payload == "poison":
            raise ValueError("poison")
        received.append(message)

    there = dict(outbox.TOPICS)
    monkeypatch.setattr(outbox, "ATTEMPTS", 2)
    Topic("tests.received", calling(receive))
    yield received
    outbox.TOPICS.clear()
    outbox.TOPICS.update(there)


def topic() -> Topic:
    return outbox.TOPICS["tests.received"]


@pytest.mark.standard("DL-SA-13")
async def test_what_was_committed_arrives_in_order_whatever_dies(
    database: Database, tmp_path: Path
) -> None:
    committed: dict[str, list[str]] = defaultdict(list)
    counter = iter(range(1_000_000))

    async def write(writer: int) -> None:
        for number in range(EACH):
            key = f"key {(writer + number) % KEYS}"
            try:
                async with database.transaction() as session:
                    await publish(session, bank.lines, key=key, payload=[str(tmp_path), "-1"])
                    # Under the key's lock: in the order of the commits.
                    line = str(next(counter))
                    await publish(session, bank.lines, key=key, payload=[str(tmp_path), line])
                    await asyncio.sleep(0.001 * (writer % 3))
                    if number % 4 == 1:
                        raise ZeroDivisionError
                    committed[key] += ["-1", line]
            except ZeroDivisionError:
                continue

    (tmp_path / "die relay").touch()
    with process(database, run_relay) as first:
        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        await asyncio.to_thread(first.join)
    (tmp_path / "die relay").touch()
    with process(database, run_relay), process(database, run_relay):
        await drained(database)
    delivered: dict[str, list[str]] = defaultdict(list)
    lines = (tmp_path / "delivered").read_text().splitlines()
    for key, line in (entry.rsplit(" ", 1) for entry in lines):
        delivered[key].append(line)
    assert delivered.keys() == committed.keys()
    for key, expected in committed.items():
        numbers = [line for line in delivered[key] if line != "-1"]
        first_seen = list(dict.fromkeys(numbers))
        assert first_seen == [line for line in expected if line != "-1"]


async def test_a_message_that_fails_holds_back_its_key_and_no_other(
    database: Database, received: list[Message]
) -> None:
    async with database.transaction() as session:
        messages = [("bad", "before"), ("bad", "poison"), ("bad", "after"), ("good", 1)]
        await publish_all(session, topic(), messages)
    async with working(database, run_relay):

        async def is_parked() -> bool:
            async with database.read_only() as session:
                return bool(await session.scalar(select(OutboxRow.id).where(OutboxRow.parked)))

        await eventually(is_parked)
        assert [one.payload for one in received] == ["before", 1]
        async with database.transaction() as session:
            row = (await session.scalars(select(OutboxRow).where(OutboxRow.parked))).one()
            assert row.reason == "ValueError: poison"
            row.payload = "cured"
        async with database.transaction() as session:
            assert await operating.redeliver(session, [row.id]) == 1
        await drained(database)
    assert [one.payload for one in received] == ["before", 1, "cured", "after"]


async def test_a_commit_wakes_the_relay_of_this_process(
    database: Database, received: list[Message]
) -> None:
    slow = SagaSettings(_env_file=None, poll=60.0)
    async with working(database, run_relay, slow):
        await asyncio.sleep(0.1)
        async with database.transaction() as session:
            await publish(session, topic(), key="one", payload={"a": [1, None]})
        await drained(database)
    assert [(one.topic, one.key, one.payload) for one in received] == [
        ("tests.received", "one", {"a": [1, None]})
    ]


async def test_writers_of_the_same_keys_in_another_order_do_not_deadlock(
    database: Database, received: list[Message]
) -> None:
    async def write(number: int) -> None:
        keys = ["a", "b", "c"] if number % 2 else ["c", "b", "a"]
        async with database.transaction() as session:
            await publish_all(session, topic(), [(key, number) for key in keys])

    await asyncio.gather(*(write(number) for number in range(10)))
    async with working(database, run_relay):
        await drained(database)
    assert len(received) == 30


async def test_a_topic_that_the_code_does_not_declare_waits(
    database: Database, received: list[Message]
) -> None:
    async with database.transaction() as session:
        session.add(OutboxRow(topic="tests.gone", key="one", payload=1))
        await publish(session, topic(), key="one", payload=2)
    async with working(database, run_relay):

        async def one_arrived() -> bool:
            return len(received) == 1

        await eventually(one_arrived)
    async with database.read_only() as reading:
        assert (await reading.scalars(select(OutboxRow.topic))).all() == ["tests.gone"]


async def test_a_payload_that_postgresql_does_not_take_is_a_violation(
    database: Database, received: list[Message]
) -> None:
    with pytest.raises(Violation):
        await _publish(database, {"a": "\0"})


async def _publish(database: Database, payload: object) -> None:
    async with database.transaction() as session:
        await publish(session, topic(), key="one", payload=payload)


async def test_a_message_larger_than_a_batch_of_its_key_keeps_the_order(
    database: Database, received: list[Message]
) -> None:
    async with database.transaction() as session:
        await publish_all(session, topic(), [("one", number) for number in range(25)])
    small = SETTINGS.model_copy(update={"batch": 3})
    async with working(database, run_relay, small), working(database, run_relay, small):
        await drained(database)
    assert [one.payload for one in received] == list(range(25))
