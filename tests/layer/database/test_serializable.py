import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import func, select, update

from my_project.data_layer.database import (
    Database,
    ReadSession,
    TransactionConflict,
    WriteSession,
    sqlstate,
)

from .tables import Account, Doctor


async def two_on_call(database: Database) -> None:
    async with database.transaction() as session:
        session.add_all([Doctor(name="ada", on_call=True), Doctor(name="bob", on_call=True)])


async def on_call(session: ReadSession) -> int:
    count = select(func.count()).select_from(Doctor).where(Doctor.on_call)
    return (await session.execute(count)).scalar_one()


def leave(name: str, meeting: asyncio.Barrier) -> Callable[[WriteSession], Awaitable[bool]]:
    """Go off call if somebody else stays; at first both have read before either writes."""
    attempts = 0

    async def work(session: WriteSession) -> bool:
        nonlocal attempts
        attempts += 1
        enough = await on_call(session) >= 2
        if attempts == 1:
            await meeting.wait()
        if enough:
            await session.execute(update(Doctor).where(Doctor.name == name).values(on_call=False))
        return enough

    return work


@pytest.mark.standard("DL-TX-03")
async def test_serializable_keeps_an_invariant_that_read_committed_breaks(
    database: Database,
) -> None:
    async def in_read_committed(work: Callable[[WriteSession], Awaitable[bool]]) -> bool:
        async with database.transaction() as session:
            return await work(session)

    for run, remaining in ((in_read_committed, 0), (database.serializable, 1)):
        async with database.transaction() as session:
            await session.execute(update(Doctor).values(on_call=True))
        if not remaining:
            await two_on_call(database)
        meeting = asyncio.Barrier(2)
        left = await asyncio.gather(run(leave("ada", meeting)), run(leave("bob", meeting)))
        async with database.read_only() as reading:
            assert await on_call(reading) == remaining
        assert sum(left) == 2 - remaining


@pytest.mark.standard("DL-TX-03")
async def test_a_deadlock_is_tried_again(database: Database) -> None:
    async with database.transaction() as session:
        session.add_all([Account(owner="ada"), Account(owner="bob")])
    meeting = asyncio.Barrier(2)
    runs = 0

    def lock(first: str, second: str) -> Callable[[WriteSession], Awaitable[None]]:
        attempts = 0

        async def work(session: WriteSession) -> None:
            nonlocal attempts, runs
            attempts, runs = attempts + 1, runs + 1
            for owner in (first, second):
                # FOR UPDATE on a row that nobody changes: only the deadlock can fail.
                await session.execute(
                    select(Account.id).where(Account.owner == owner).with_for_update()
                )
                if attempts == 1 and owner == first:
                    await meeting.wait()

        return work

    await asyncio.gather(
        database.serializable(lock("ada", "bob")), database.serializable(lock("bob", "ada"))
    )
    # One more whenever the second attempt is quicker than who waited for the first one's lock.
    assert runs >= 3


@pytest.mark.standard("DL-TX-03")
async def test_the_attempts_are_bounded(
    database: Database, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    await two_on_call(database)
    runs = 0

    async def always_collides(session: WriteSession) -> None:
        nonlocal runs
        runs += 1
        await on_call(session)
        async with database.transaction() as other:
            await other.execute(update(Doctor).values(name=Doctor.name))
        await session.execute(update(Doctor).values(name=Doctor.name))

    with pytest.raises(TransactionConflict, match="3 at most") as raised:
        await database.serializable(always_collides, attempts=3)
    assert runs == 3
    cause = raised.value.__cause__
    assert cause is not None
    assert sqlstate(cause) == "40001"
    # A retry may be logged for those who configure logging, and is not printed for the others.
    assert {record.name for record in caplog.records} <= {"stamina"}
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("stamina").handlers


@pytest.mark.standard("DL-TX-03")
async def test_no_attempt_begins_after_the_timeout(database: Database) -> None:
    await two_on_call(database)
    runs = 0

    async def collides_slowly(session: WriteSession) -> None:
        nonlocal runs
        runs += 1
        await on_call(session)
        async with database.transaction() as other:
            await other.execute(update(Doctor).values(name=Doctor.name))
        await asyncio.sleep(0.3)
        await session.execute(update(Doctor).values(name=Doctor.name))

    with pytest.raises(TransactionConflict):
        await database.serializable(collides_slowly, attempts=100, timeout=0.2)
    assert runs == 1


async def test_other_errors_are_not_tried_again(database: Database) -> None:
    runs = 0

    async def work(session: WriteSession) -> None:
        nonlocal runs
        runs += 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.serializable(work)
    assert runs == 1


async def test_each_attempt_has_a_session_of_its_own(database: Database) -> None:
    await two_on_call(database)
    sessions: list[WriteSession] = []

    async def work(session: WriteSession) -> int:
        sessions.append(session)
        count = await on_call(session)
        session.add(Doctor(name="cat", on_call=True))
        if len(sessions) == 1:
            async with database.transaction() as other:
                await other.execute(update(Doctor).values(name=Doctor.name))
            await session.execute(update(Doctor).values(name=Doctor.name))
        return count

    assert await database.serializable(work) == 2
    assert sessions[0] is not sessions[1]
    async with database.read_only() as reading:
        assert await on_call(reading) == 3
