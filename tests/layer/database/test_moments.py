"""A datetime says its time zone wherever it enters, and what comes out is in UTC."""

# ruff: noqa: DTZ001 (naive on purpose)
# ruff: noqa: PT012 (what is raised comes out of a whole transaction)
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import ARRAY, DateTime, Enum, MetaData, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from my_project.data_layer.database import (
    Base,
    Database,
    RowRejected,
    Violation,
    WriteSession,
    copy_in,
    upsert,
)

from .conftest import OpenDatabase

NAIVE = datetime(2026, 1, 2, 3)
AWARE = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=5)))


class Own(Base):
    __abstract__ = True
    metadata = MetaData()


class Event(Own):
    __tablename__ = "moment_events"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    moment: Mapped[datetime | None]
    wall: Mapped[datetime | None] = mapped_column(DateTime())


class Marked(Own):
    """An array of an enum, so that COPY sends text."""

    __tablename__ = "moment_marked"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    moment: Mapped[datetime | None]
    wall: Mapped[datetime | None] = mapped_column(DateTime())
    marks: Mapped[list[Any] | None] = mapped_column(ARRAY(Enum("a", name="moment_mark")))


@pytest.fixture(scope="module", autouse=True)
async def _events(database_settings: Any) -> AsyncIterator[None]:
    async with Database.open(database_settings) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Own.metadata.create_all)
        yield
        async with database.engine.begin() as connection:
            await connection.run_sync(Own.metadata.drop_all)


Write = Callable[[WriteSession, datetime], Awaitable[Any]]


async def by_orm(session: WriteSession, moment: datetime) -> None:
    session.add(Event(id=1, moment=moment))


async def by_insert(session: WriteSession, moment: datetime) -> None:
    await session.execute(insert(Event).values(id=1, moment=moment))


async def by_raw_sql(session: WriteSession, moment: datetime) -> None:
    statement = text("INSERT INTO moment_events (id, moment) VALUES (1, :moment)")
    await session.execute(statement, {"moment": moment})


async def by_copy(session: WriteSession, moment: datetime) -> None:
    await copy_in(session, Event, [{"id": 1, "moment": moment}])


async def by_copy_of_text(session: WriteSession, moment: datetime) -> None:
    await copy_in(session, Marked, [{"id": 1, "moment": moment, "marks": ["a"]}])
    await session.execute(text("INSERT INTO moment_events SELECT id, moment FROM moment_marked"))


async def by_upsert(session: WriteSession, moment: datetime) -> None:
    await upsert(session, Event, [{"id": 1, "moment": moment}], key=["id"])


@pytest.mark.parametrize(
    "write", [by_orm, by_insert, by_raw_sql, by_copy, by_copy_of_text, by_upsert]
)
async def test_every_way_in_wants_a_time_zone(database: Database, write: Write) -> None:
    with pytest.raises(Violation) as raised:
        async with database.transaction() as session:
            await write(session, NAIVE)
    assert raised.value.kind == "value"
    assert "2026" not in str(raised.value)
    async with database.transaction() as session:
        await write(session, AWARE)
    async with database.read_only() as session:
        [stored] = await session.scalars(select(Event.moment))
    assert stored == AWARE
    assert stored is not None
    assert stored.utcoffset() == timedelta(0)


@pytest.mark.parametrize("moment", [NAIVE, [AWARE, NAIVE]])
async def test_a_query_wants_one_too(database: Database, moment: Any) -> None:
    for condition in (
        text("moment = ANY(:moment)") if isinstance(moment, list) else text("moment > :moment"),
        Event.moment.in_(moment) if isinstance(moment, list) else Event.moment > moment,
    ):
        with pytest.raises(Violation, match="no time zone"):
            async with database.read_only() as session:
                statement = select(Event).where(condition)
                values = {"moment": moment} if hasattr(condition, "text") else {}
                await session.execute(statement, values)


async def test_an_update_wants_one_too(database: Database) -> None:
    with pytest.raises(Violation, match="no time zone"):
        async with database.transaction() as session:
            await session.execute(update(Event).values(moment=NAIVE))


@pytest.mark.parametrize("transaction_pooler", [False, True])
async def test_every_session_is_in_utc(
    open_database: OpenDatabase, transaction_pooler: bool
) -> None:
    async with open_database().transaction() as session:
        name = await session.scalar(text("SELECT current_database()"))
        await session.execute(text(f"ALTER DATABASE \"{name}\" SET timezone TO 'Asia/Tokyo'"))
    try:
        database = open_database(transaction_pooler=transaction_pooler)
        async with database.read_only() as session:
            assert await session.scalar(text("SHOW timezone")) == "UTC"
            assert await session.scalar(text("SELECT timestamptz '2026-01-02 03:00'")) == (
                NAIVE.replace(tzinfo=UTC)
            )
    finally:
        async with open_database().transaction() as session:
            await session.execute(text(f'ALTER DATABASE "{name}" RESET timezone'))


@pytest.mark.parametrize("model", [Event, Marked])
async def test_a_load_into_a_timestamp_takes_the_wall_clock(
    database: Database, model: type[Event | Marked]
) -> None:
    more = {"marks": ["a"]} if model is Marked else {}
    async with database.transaction() as session:
        assert await copy_in(session, model, [{"id": 1, "wall": NAIVE, **more}]) == 1
        assert (await session.scalars(select(model.wall))).all() == [NAIVE]
    with pytest.raises(RowRejected):
        async with database.transaction() as session:
            await copy_in(session, model, [{"id": 2, "wall": AWARE, **more}])
