# ruff: noqa: PT012 (what is raised comes out of a whole transaction)
import asyncio
import socket
import time
from decimal import Decimal

import pytest
from pydantic import SecretStr
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

from my_project.data_layer.database import (
    Database,
    DatabaseSettings,
    DatabaseUnreachable,
    PoolExhausted,
    ReadSession,
    TransactionAborted,
    Violation,
    WriteSession,
    sqlstate,
)
from tests.layer import PATIENCE

from .conftest import OpenDatabase
from .tables import Account


async def owners(database: Database) -> list[str]:
    async with database.read_only() as session:
        return list(await session.scalars(select(Account.owner).order_by(Account.owner)))


@pytest.mark.standard("DL-TX-01")
async def test_the_end_of_the_block_commits(database: Database) -> None:
    async with database.transaction() as session:
        account = Account(owner="ada", balance=Decimal("1.50"))
        session.add(account)
        assert await owners(database) == []
    assert await owners(database) == ["ada"]
    assert account.balance == Decimal("1.50")


@pytest.mark.standard("DL-TX-01")
async def test_any_error_rolls_back_and_passes_unchanged(database: Database) -> None:
    mistake = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as raised:
        async with database.transaction() as session:
            session.add(Account(owner="ada"))
            await session.flush()
            raise mistake
    assert raised.value is mistake
    with pytest.raises(Violation):
        async with database.transaction() as session:
            session.add_all([Account(owner="ada"), Account(owner="ada")])
    assert await owners(database) == []


async def test_a_swallowed_error_is_no_silent_rollback(database: Database) -> None:
    with pytest.raises(TransactionAborted, match="begin_nested"):
        async with database.transaction() as session:
            await session.execute(insert(Account).values(owner="ada"))
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT 1 / 0"))
    assert await owners(database) == []


async def test_within_a_savepoint_an_error_may_be_caught(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(insert(Account).values(owner="ada"))
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await session.execute(text("SELECT 1 / 0"))
    assert await owners(database) == ["ada"]


async def test_a_writer_is_a_reader_and_not_the_other_way_round(database: Database) -> None:
    async with database.transaction() as writer, database.read_only() as reader:
        assert isinstance(writer, ReadSession)
        assert not isinstance(reader, WriteSession)


@pytest.mark.parametrize("snapshot", [False, True])
async def test_the_server_refuses_to_write_in_a_read_only_session(
    database: Database, snapshot: bool
) -> None:
    with pytest.raises(DBAPIError) as raised:
        async with database.read_only(snapshot=snapshot) as session:
            await session.execute(insert(Account).values(owner="ada"))
    assert sqlstate(raised.value) == "25006"


async def test_a_read_only_session_stays_so_after_its_own_commit(database: Database) -> None:
    with pytest.raises(DBAPIError) as raised:
        async with database.read_only() as session:
            await session.execute(select(1))
            await session.commit()
            await session.execute(insert(Account).values(owner="ada"))
    assert sqlstate(raised.value) == "25006"


async def test_a_snapshot_does_not_move(database: Database) -> None:
    count = select(func.count()).select_from(Account)
    async with database.read_only(snapshot=True) as still, database.read_only() as moving:
        assert await still.scalar(count) == await moving.scalar(count) == 0
        async with database.transaction() as session:
            session.add(Account(owner="ada"))
        assert await moving.scalar(count) == 1
        assert await still.scalar(count) == 0


async def test_the_next_user_of_a_connection_finds_it_plain(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, max_overflow=0)

    async def state(session: ReadSession) -> tuple[str, str, int]:
        row = await session.execute(
            text(
                "SELECT current_setting('transaction_isolation'), "
                "current_setting('transaction_read_only'), pg_backend_pid()"
            )
        )
        isolation, read_only, pid = row.one()
        return isolation, read_only, pid

    async with database.read_only() as reading:
        assert (first := await state(reading))[:2] == ("read committed", "on")
    async with database.read_only(snapshot=True) as reading:
        assert (await state(reading))[:2] == ("repeatable read", "on")
    assert (await database.serializable(state))[:2] == ("serializable", "off")
    with pytest.raises(ZeroDivisionError):
        async with database.read_only(snapshot=True) as reading:
            await state(reading)
            raise ZeroDivisionError
    async with database.transaction() as session:
        assert await state(session) == ("read committed", "off", first[2])


@pytest.mark.standard("DL-PG-02")
async def test_a_full_pool_is_an_error_in_bounded_time(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, max_overflow=1, pool_timeout=0.2)
    async with database.transaction(), database.read_only():
        begin = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(PoolExhausted, match="DATABASE_POOL_SIZE"):
                async with database.transaction():
                    pytest.fail("there was no connection for this block")
        assert time.monotonic() - begin > 0.15
    async with database.transaction() as session:
        assert await session.scalar(select(1)) == 1


@pytest.mark.standard("DL-PG-02")
async def test_a_cancelled_task_gives_its_connection_back(open_database: OpenDatabase) -> None:
    database = open_database(
        pool_size=1, max_overflow=0, pool_timeout=PATIENCE, statement_timeout=PATIENCE
    )
    started = asyncio.Event()

    async def sleep() -> None:
        async with database.transaction() as session:
            session.add(Account(owner="cancelled"))
            await session.flush()
            started.set()
            await session.execute(text("SELECT pg_sleep(600)"))

    for pause in (0, 0.1, 0.2):
        started.clear()
        task = asyncio.create_task(sleep())
        await started.wait()
        await asyncio.sleep(pause)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await owners(database) == []


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


async def test_a_database_that_is_down_is_one_sentence(open_database: OpenDatabase) -> None:
    port = closed_port()
    database = open_database(url=SecretStr(f"postgresql://u:hunter2@127.0.0.1:{port}/name"))
    with pytest.raises(DatabaseUnreachable) as raised:
        async with database.transaction():
            pytest.fail("there was no connection for this block")
    message = str(raised.value)
    assert f"127.0.0.1:{port}/name" in message
    assert "refused" in message
    assert "start the server" in message
    assert "hunter2" not in message
    assert "\n" not in message
    assert isinstance(raised.value.__cause__, DBAPIError)


async def test_an_unknown_database_and_a_wrong_role_are_unreachable(
    open_database: OpenDatabase, database_settings: DatabaseSettings
) -> None:
    url = database_settings.sqlalchemy_url()
    for wrong in (url.set(database="no_such_database"), url.set(username="nobody_at_all")):
        database = open_database(url=SecretStr(wrong.render_as_string(hide_password=False)))
        with pytest.raises(DatabaseUnreachable) as raised:
            async with database.read_only():
                pytest.fail("there was no connection for this block")
        assert str(wrong.password) not in str(raised.value)


async def test_a_database_opens_and_closes(database_settings: DatabaseSettings) -> None:
    async with Database.open(database_settings) as database:
        assert await owners(database) == []
        pool = database.engine.pool
        assert pool.status().startswith("Pool size")
    assert "Current Checked out connections: 0" in pool.status()
