# ruff: noqa: PT012 (what is raised comes out of a whole transaction)
import time
from typing import Any
from unittest.mock import Mock

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from my_project.data_layer.database import (
    Database,
    DatabaseSettings,
    DatabaseUnreachable,
    LockTimeout,
    ReadSession,
    StatementTimeout,
    engine,
)
from tests.data_layer.fixtures import connect
from tests.layer import PATIENCE

from .conftest import OpenDatabase
from .tables import Account

LIMITS: dict[str, Any] = {
    "statement_timeout": 2.5,
    "lock_timeout": 1.5,
    "idle_in_transaction_timeout": 3.5,
}
NAMES = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_isolation",
    "application_name",
)


async def shown(session: ReadSession) -> dict[str, str]:
    return {name: (await session.execute(text(f"SHOW {name}"))).scalar_one() for name in NAMES}


@pytest.mark.standard("DL-PG-03")
@pytest.mark.parametrize("transaction_pooler", [False, True])
async def test_the_server_knows_the_timeouts(
    open_database: OpenDatabase, transaction_pooler: bool
) -> None:
    database = open_database(
        **LIMITS, transaction_pooler=transaction_pooler, application_name="limits"
    )
    async with database.transaction() as session:
        assert await shown(session) == {
            "statement_timeout": "2500ms",
            "lock_timeout": "1500ms",
            "idle_in_transaction_session_timeout": "3500ms",
            "transaction_isolation": "read committed",
            "application_name": "limits",
        }


@pytest.mark.standard("DL-PG-03")
async def test_behind_a_pooler_nothing_outlives_the_transaction(
    open_database: OpenDatabase,
) -> None:
    database = open_database(
        **LIMITS, transaction_pooler=True, pool_size=1, max_overflow=0, pool_pre_ping=False
    )
    for _ in range(10):
        async with database.transaction() as session:
            await session.execute(text("SELECT 1"))
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.set_autocommit(True)
        left = await driver.execute(
            "SELECT current_setting('statement_timeout'), count(*) FROM pg_prepared_statements"
        )
        assert await left.fetchone() == ("0", 0)
        await driver.set_autocommit(False)


async def test_zero_is_no_limit_and_a_tiny_one_is_one(open_database: OpenDatabase) -> None:
    database = open_database(
        statement_timeout=0.0, lock_timeout=0.0001, idle_in_transaction_timeout=0.0
    )
    async with database.transaction() as session:
        limits = await shown(session)
    assert limits["statement_timeout"] == "0"
    assert limits["lock_timeout"] == "1ms"
    assert limits["idle_in_transaction_session_timeout"] == "0"


@pytest.mark.standard("DL-PG-03")
@pytest.mark.parametrize("transaction_pooler", [False, True])
async def test_a_statement_over_its_time_is_stopped(
    open_database: OpenDatabase, database: Database, transaction_pooler: bool
) -> None:
    # Far longer than anything takes before the statement that is to be stopped.
    hurried = open_database(statement_timeout=2, transaction_pooler=transaction_pooler)
    with pytest.raises(StatementTimeout, match="DATABASE_STATEMENT_TIMEOUT"):
        async with hurried.transaction() as session:
            session.add(Account(owner="lost"))
            await session.flush()
            await session.execute(text("SELECT pg_sleep(600)"))
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM layer_test.account")) == 0


@pytest.mark.standard("DL-PG-03")
async def test_a_lock_that_is_not_to_be_had_ends_the_wait(
    open_database: OpenDatabase, database: Database
) -> None:
    impatient = open_database(lock_timeout=0.2)
    async with database.transaction() as holder:
        await holder.execute(text("LOCK TABLE layer_test.account"))
        with pytest.raises(LockTimeout, match="DATABASE_LOCK_TIMEOUT"):
            async with impatient.transaction() as session:
                await session.execute(text("LOCK TABLE layer_test.account"))


@pytest.mark.standard("DL-PG-03")
async def test_a_transaction_that_stands_still_loses_its_connection(
    open_database: OpenDatabase, database: Database, database_settings: DatabaseSettings
) -> None:
    idler = open_database(idle_in_transaction_timeout=2, application_name="idler")
    deadline = time.monotonic() + PATIENCE
    with (
        connect(database_settings.sqlalchemy_url()) as observer,
        pytest.raises(DatabaseUnreachable, match="idle-in-transaction"),
    ):
        async with idler.transaction() as session:
            session.add(Account(owner="lost"))
            await session.flush()
            while observer.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'idler'"
            ).fetchone():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            await session.execute(text("SELECT 1"))
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM layer_test.account")) == 0


@pytest.mark.standard("DL-PG-02")
async def test_the_pool_has_the_limits_of_the_settings(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=2, max_overflow=1, pool_timeout=0.5, pool_recycle=0)
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    assert (pool.size(), pool._max_overflow, pool.timeout(), pool._recycle) == (2, 1, 0.5, -1)


@pytest.mark.parametrize(
    ("believed", "pre_ping", "pings"), [(PATIENCE, True, 0), (0, True, 2), (0, False, 0)]
)
async def test_a_connection_that_lay_in_the_pool_for_a_while_is_pinged(
    open_database: OpenDatabase,
    monkeypatch: pytest.MonkeyPatch,
    believed: float,
    pre_ping: bool,
    pings: int,
) -> None:
    monkeypatch.setattr(engine, "_BELIEVED", believed)
    database = open_database(pool_size=1, max_overflow=0, pool_pre_ping=pre_ping)
    pinged = Mock(wraps=database.engine.dialect.do_ping)
    monkeypatch.setattr(database.engine.dialect, "do_ping", pinged)
    for _ in range(3):
        async with database.transaction() as session:
            await session.execute(text("SELECT 1"))
    assert pinged.call_count == pings


async def test_a_connection_that_the_server_ended_a_moment_ago_is_replaced(
    open_database: OpenDatabase,
    database_settings: DatabaseSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_BELIEVED", PATIENCE)
    database = open_database(pool_size=1, max_overflow=0)
    pids = []
    with connect(database_settings.sqlalchemy_url()) as observer:
        for _ in range(3):
            async with database.transaction() as session:
                pids.append(await session.scalar(text("SELECT pg_backend_pid()")))
            observer.execute("SELECT pg_terminate_backend(%s, 60000)", [pids[-1]])
    assert len(set(pids)) == 3


@pytest.mark.standard("DL-TX-02")
async def test_read_committed_whatever_the_database_says(
    open_database: OpenDatabase, empty_database_url: Any
) -> None:
    with connect(empty_database_url) as connection:
        connection.execute(
            f'ALTER DATABASE "{empty_database_url.database}" '
            "SET default_transaction_isolation = 'serializable'"
        )
    database = open_database(
        url=SecretStr(empty_database_url.render_as_string(hide_password=False))
    )
    async with database.transaction() as session:
        assert (await shown(session))["transaction_isolation"] == "read committed"


async def test_what_the_url_says_wins(
    open_database: OpenDatabase, database_settings: DatabaseSettings
) -> None:
    url = database_settings.sqlalchemy_url().update_query_dict(
        {"options": "-c statement_timeout=777 -c search_path=layer_test", "application_name": "u"}
    )
    database = open_database(url=SecretStr(url.render_as_string(hide_password=False)))
    async with database.transaction() as session:
        limits = await shown(session)
        assert (await session.execute(text("SHOW search_path"))).scalar() == "layer_test"
    assert limits["statement_timeout"] == "777ms"
    assert limits["lock_timeout"] == "5s"
    assert limits["application_name"] == "u"


async def test_an_error_shows_no_bound_value(database: Database) -> None:
    with pytest.raises(DBAPIError, match="division by zero") as raised:
        async with database.transaction() as session:
            await session.execute(text("SELECT 1 / 0, CAST(:token AS text)"), {"token": "hunter2"})
    assert "hunter2" not in str(raised.value)
