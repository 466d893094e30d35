"""What must hold on the oldest PostgreSQL, and behind PgBouncer: a kill, a freeze, the outbox."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import URL, func, select, text

from my_project.data_layer.database import Database, DatabaseSettings
from my_project.data_layer.sagas import models, publish_all, run_relay

from . import bank
from .conftest import Bank
from .exchange import Exchange
from .servers import pgbouncer, postgresql_16
from .test_zombies import frozen
from .workers import PATIENT, dies, ended, eventually, process, working

KILLS: list[tuple[dict[str, list[str]], str, str]] = [
    ({}, "book end", "completed"),
    ({}, "settle end", "completed"),
    ({"clear": ["refuse"]}, "cancel end", "compensated"),
    ({"book": ["fail after"] * 4}, "release end", "compensated"),
]


@pytest.fixture(scope="module")
def oldest() -> Iterator[URL]:
    with postgresql_16() as url:
        yield url


@pytest.fixture(scope="module")
def pooled(database_settings: DatabaseSettings) -> Iterator[URL]:
    with pgbouncer(database_settings.sqlalchemy_url()) as url:
        yield url


@pytest.fixture(
    params=[
        pytest.param("oldest", id="PostgreSQL 16"),
        pytest.param("pooled", id="PgBouncer", marks=pytest.mark.pgbouncer),
    ]
)
async def elsewhere(
    request: pytest.FixtureRequest, exchange: Exchange, tmp_path: Path
) -> AsyncIterator["Elsewhere"]:
    url: URL = request.getfixturevalue(request.param)
    async with Elsewhere.open(url, request.param == "pooled", exchange, tmp_path) as bank_there:
        yield bank_there


class Elsewhere(Bank):
    """The bank on another server."""

    is_pooled: bool

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: URL, is_pooled: bool, exchange: Exchange, folder: Path
    ) -> AsyncIterator["Elsewhere"]:
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        settings = DatabaseSettings(
            _env_file=None, url=SecretStr(plain), transaction_pooler=is_pooled
        )
        metadata = (models.Own.metadata, bank.Own.metadata)
        async with Database.open(settings) as database:
            async with database.engine.begin() as connection:
                for one in metadata:
                    await connection.run_sync(one.create_all)
            there = cls(database, exchange, folder)
            there.is_pooled = is_pooled
            yield there
            async with database.engine.begin() as connection:
                for one in metadata:
                    for table in one.sorted_tables:
                        await connection.execute(text(f"TRUNCATE {table.name} CASCADE"))


@pytest.mark.standard("DL-SA-11")
@pytest.mark.parametrize(
    ("behaviours", "point", "end"), [pytest.param(*one, id=f"{one[0]}-{one[1]}") for one in KILLS]
)
async def test_a_kill(
    elsewhere: Elsewhere, behaviours: dict[str, list[str]], point: str, end: str
) -> None:
    for path, told in behaviours.items():
        elsewhere.exchange.behaviours[path].extend(told)
    elsewhere.order("die", point)
    await elsewhere.start()
    pooler: dict[str, Any] = {"transaction_pooler": elsewhere.is_pooled}
    with process(elsewhere.database, settings=PATIENT, **pooler) as first:
        await dies(elsewhere, first)
    with process(elsewhere.database, settings=PATIENT, **pooler):
        await ended(elsewhere.database)
    assert await elsewhere.judge() == end


@pytest.mark.standard("DL-SA-12")
async def test_a_freeze(elsewhere: Elsewhere) -> None:
    elsewhere.order("freeze", "book begin")
    with process(elsewhere.database, transaction_pooler=elsewhere.is_pooled):
        await elsewhere.start()
        pid = await frozen(elsewhere)
        elsewhere.exchange.behaviours["book"].extend(["fail"] * 3)
        async with working(elsewhere.database):
            await ended(elsewhere.database)
            os.kill(pid, signal.SIGCONT)

            async def woke() -> bool:
                return elsewhere.exchange.calls["book"] == 4

            await eventually(woke)
            await ended(elsewhere.database)
    assert await elsewhere.judge() == "compensated"


@pytest.mark.standard("DL-SA-13")
async def test_the_outbox(elsewhere: Elsewhere) -> None:
    folder = elsewhere.folder
    (folder / "die relay").touch()

    async def write(number: int) -> None:
        async with elsewhere.database.transaction() as session:
            messages = [(key, [str(folder), str(number)]) for key in ("a", "b")]
            await publish_all(session, bank.lines, messages)

    await asyncio.gather(*(write(number) for number in range(20)))
    waiting = select(func.count()).select_from(models.OutboxRow)

    async def drained() -> bool:
        async with elsewhere.database.read_only() as session:
            return not await session.scalar(waiting)

    pooler: dict[str, Any] = {"transaction_pooler": elsewhere.is_pooled}
    with process(elsewhere.database, run_relay, **pooler) as first:
        first.join(60)
    assert first.exitcode == -9
    with process(elsewhere.database, run_relay, **pooler):
        await eventually(drained)
    lines = (folder / "delivered").read_text().splitlines()
    for key in ("a", "b"):
        delivered = [line.split()[1] for line in lines if line.startswith(key)]
        assert set(delivered) == {str(number) for number in range(20)}
    orders = [list(dict.fromkeys(x.split()[1] for x in lines if x[0] == key)) for key in "ab"]
    assert orders[0] == orders[1]  # both keys are published in one transaction
