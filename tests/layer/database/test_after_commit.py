"""What runs after a commit, and never before it or without it."""

# ruff: noqa: PT012 (what is raised comes out of a whole transaction)

import asyncio
import logging

import pytest
from sqlalchemy import select, text

from my_project.data_layer.database import (
    Database,
    DatabaseUnreachable,
    WriteSession,
)
from my_project.data_layer.database import session as module
from tests.layer import PATIENCE

from .tables import Account


async def owners(database: Database) -> list[str]:
    async with database.read_only() as session:
        return list(await session.scalars(select(Account.owner).order_by(Account.owner)))


async def test_an_effect_sees_what_was_committed(database: Database) -> None:
    seen: list[list[str]] = []

    async def look() -> None:
        seen.append(await owners(database))

    async with database.transaction() as session:
        session.add(Account(owner="ada"))
        session.after_commit(look)
        await session.flush()
        assert seen == []
    assert seen == [["ada"]]


async def test_no_effect_after_a_rollback(database: Database) -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("ran")

    with pytest.raises(ValueError, match="mine"):
        async with database.transaction() as session:
            session.add(Account(owner="ada"))
            session.after_commit(note, or_unknown=True)
            raise ValueError("mine")
    assert ran == []


async def test_a_failing_effect_stops_neither_the_caller_nor_the_next(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    async def fail() -> None:
        raise ValueError("an effect")

    async def note() -> None:
        ran.append("ran")

    with caplog.at_level(logging.ERROR):
        async with database.transaction() as session:
            session.add(Account(owner="ada"))
            session.after_commit(fail)
            session.after_commit(note)
    assert ran == ["ran"]
    assert "the transaction stands" in caplog.text
    assert await owners(database) == ["ada"]


async def test_only_the_attempt_that_commits_has_effects(database: Database) -> None:
    attempts: list[int] = []
    ran: list[int] = []

    async def work(session: WriteSession) -> None:
        attempt = len(attempts)
        attempts.append(attempt)

        async def note() -> None:
            ran.append(attempt)

        session.after_commit(note)
        session.add(Account(owner="ada"))
        if attempt == 0:
            await session.execute(text("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$"))

    await database.serializable(work)
    assert ran == [1]


async def test_an_effect_ends_when_its_caller_is_cancelled(database: Database) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        ended.set()

    async def write() -> None:
        async with database.transaction() as session:
            session.add(Account(owner="ada"))
            session.after_commit(slow)

    task = asyncio.create_task(write())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_a_commit_of_unknown_outcome_runs_what_does_no_harm(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    async def drop() -> None:
        ran.append("drop")

    async def send() -> None:
        ran.append("send")

    async def break_off(session: WriteSession) -> None:
        await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    monkeypatch.setattr(module.WriteSession, "commit", break_off)
    with pytest.raises(DatabaseUnreachable, match="during COMMIT"):
        async with database.transaction() as session:
            session.after_commit(drop, or_unknown=True)
            session.after_commit(send)
    assert ran == ["drop"]
