# ruff: noqa: PT012 (what is raised comes out of a whole transaction)
import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest
from sqlalchemy import func, select, text

from my_project.data_layer.database import (
    Database,
    DatabaseUnreachable,
    WriteSession,
    copy_in,
    stream,
)
from my_project.data_layer.devservers.postgresql import EmbeddedServer
from tests.data_layer.fixtures import settings_of
from tests.layer.servers import kill, restart

from .tables import SCHEMA, Account, Doctor, Model


class Number(NamedTuple):
    number: int


@pytest.fixture
async def own(own_server: EmbeddedServer) -> AsyncIterator[Database]:
    """A database on a server that the test may kill."""
    async with Database.open(settings_of(own_server.url)) as database:
        async with database.transaction() as session:
            await session.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            await (await session.connection()).run_sync(Model.metadata.create_all)
        yield database


async def owners(database: Database) -> list[str]:
    async with database.read_only() as session:
        return list(await session.scalars(select(Account.owner).order_by(Account.owner)))


def assert_tells(error: DatabaseUnreachable, server: EmbeddedServer) -> None:
    message = str(error)
    assert f"127.0.0.1:{server.url.port}/postgres" in message
    assert "start the server" in message
    assert str(server.url.password) not in message
    assert error.__cause__ is not None


async def test_a_server_that_dies_within_a_transaction(
    own: Database, own_server: EmbeddedServer
) -> None:
    async with own.transaction() as session:
        session.add(Account(owner="acknowledged"))
    with pytest.raises(DatabaseUnreachable) as raised:
        async with own.transaction() as session:
            session.add(Account(owner="lost"))
            await session.flush()
            await asyncio.to_thread(kill, own_server)
            await session.execute(select(1))
    assert_tells(raised.value, own_server)
    with pytest.raises(DatabaseUnreachable) as raised:
        async with own.transaction():
            pytest.fail("there was no connection for this block")
    assert_tells(raised.value, own_server)
    await asyncio.to_thread(own_server.start)
    assert await owners(own) == ["acknowledged"]


async def test_a_commit_that_breaks_is_in_doubt(own: Database, own_server: EmbeddedServer) -> None:
    with pytest.raises(DatabaseUnreachable, match="during COMMIT"):
        async with own.transaction() as session:
            session.add(Account(owner="in doubt"))
            await session.flush()
            await asyncio.to_thread(kill, own_server)


async def test_an_error_of_the_body_is_not_hidden_by_a_dead_server(
    own: Database, own_server: EmbeddedServer
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with own.transaction() as session:
            session.add(Account(owner="lost"))
            await session.flush()
            await asyncio.to_thread(kill, own_server)
            raise ZeroDivisionError
    await asyncio.to_thread(own_server.start)
    assert await owners(own) == []


async def test_the_pool_recovers_from_a_restart(own: Database, own_server: EmbeddedServer) -> None:
    async with own.transaction(), own.transaction(), own.read_only():
        pass
    await asyncio.to_thread(restart, own_server)
    # Every pooled connection is dead now; no one shall notice.
    async with own.transaction() as session:
        session.add(Account(owner="ada"))
        async with own.read_only() as reading:
            assert await reading.scalar(select(1)) == 1
    assert await owners(own) == ["ada"]


async def test_a_serializable_transaction_does_not_retry_a_dead_server(
    own: Database, own_server: EmbeddedServer
) -> None:
    runs = 0

    async def work(session: WriteSession) -> None:
        nonlocal runs
        runs += 1
        await session.execute(select(1))
        await asyncio.to_thread(kill, own_server)

    with pytest.raises(DatabaseUnreachable):
        await own.serializable(work)
    assert runs == 1


@pytest.mark.standard("DL-SQL-02")
async def test_a_kill_during_a_load_loses_nothing_that_was_acknowledged(
    own: Database, own_server: EmbeddedServer
) -> None:
    batch, batches, fatal = 20_000, 5, 3
    acknowledged: list[int] = []

    def rows(number: int) -> Iterator[tuple[str, bool]]:
        return ((f"{number}/{index}", True) for index in range(batch))

    async def load(number: int, *, die: bool) -> None:
        async def sent() -> AsyncIterator[tuple[str, bool]]:
            for index, row in enumerate(rows(number)):
                if die and index == batch // 2:
                    await asyncio.to_thread(kill, own_server)
                yield row

        async with own.transaction() as session:
            await copy_in(session, Doctor, sent())
        acknowledged.append(number)

    for number in range(fatal):
        await load(number, die=False)
    with pytest.raises(DatabaseUnreachable) as raised:
        await load(fatal, die=True)
    assert_tells(raised.value, own_server)
    assert acknowledged == [0, 1, 2]

    await asyncio.to_thread(own_server.start)
    count = select(func.count()).select_from(Doctor)
    async with own.read_only() as session:
        assert await session.scalar(count) == batch * len(acknowledged)
    # The load goes on where the last acknowledgement was, and nothing is there twice.
    for number in range(len(acknowledged), batches):
        await load(number, die=False)
    async with own.read_only() as session:
        assert await session.scalar(count) == batch * batches
        distinct = select(func.count(func.distinct(Doctor.name)))
        assert await session.scalar(distinct) == batch * batches


@pytest.mark.standard("DL-SQL-01")
async def test_a_kill_during_a_stream_is_an_error(
    own: Database, own_server: EmbeddedServer
) -> None:
    query = select(func.generate_series(1, 50_000_000).label("number"))
    with pytest.raises(DatabaseUnreachable):
        async with own.read_only() as session:
            async for row in stream(session, query, Number):
                if row.number == 1_000:
                    await asyncio.to_thread(kill, own_server)
