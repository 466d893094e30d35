"""The database as this project is set up: transactions, timeouts, versions, many rows at once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
from sqlalchemy import func, literal, select, text

from . import layer
from .things import Thing


class Item(NamedTuple):
    """What the tests read back."""

    name: str
    price: Decimal = Decimal(0)
    version: int = 1


ITEMS = select(Thing.name, Thing.price, Thing.version).order_by(Thing.name)


async def items(database: layer.database.Database) -> list[Item]:
    async with database.read_only() as session:
        return await layer.database.fetch_all(session, ITEMS, Item)


@pytest.mark.standard("DL-TX-01")
async def test_a_transaction_is_written_whole_or_not_at_all(
    things: layer.database.Database,
) -> None:
    async with things.transaction() as session:
        session.add(thing := Thing(name="kept"))
    assert thing.created_at == thing.updated_at

    async def fail() -> None:
        async with things.transaction() as session:
            session.add(Thing(name="lost"))
            await session.flush()
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await fail()
    assert await items(things) == [Item("kept")]


async def test_a_reader_writes_nothing(things: layer.database.Database) -> None:
    with pytest.raises(Exception, match="read-only transaction") as raised:
        async with things.read_only() as session:
            session.add(Thing(name="smuggled"))
    assert layer.database.sqlstate(raised.value) == "25006"
    assert await items(things) == []


async def test_a_moment_has_a_time_zone(things: layer.database.Database) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 (what is refused)
    async with things.read_only() as session:
        moment = select(literal(datetime.now(UTC)).label("moment"))
        assert (await session.execute(moment)).scalar_one().utcoffset() == timedelta(0)
        with pytest.raises(layer.database.Violation, match="no time zone"):
            await session.execute(text("SELECT :moment"), {"moment": naive})


@pytest.mark.standard("DL-ORM-02")
async def test_constraints_are_named_after_what_they_are_on(
    things: layer.database.Database,
) -> None:
    query = text("SELECT conname FROM pg_constraint WHERE conrelid = 'layer_test_things'::regclass")
    async with things.read_only() as session:
        names = set(await session.scalars(query))
    assert names >= {"pk_layer_test_things", "uq_layer_test_things_name"}


@pytest.mark.standard("DL-PG-03")
@pytest.mark.standard("DL-TX-02")
@pytest.mark.usefixtures("database_in_environment")
async def test_the_server_keeps_to_the_settings_of_this_project() -> None:
    wanted = layer.settings.load(layer.database.DatabaseSettings)
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    async with layer.database.Database.open() as database, database.transaction() as session:
        in_force = [
            await session.scalar(text(f"SELECT current_setting('{name}')::interval"))
            for name in names
        ]
        isolation = await session.scalar(text("SHOW transaction_isolation"))
    assert in_force == [
        timedelta(seconds=wanted.statement_timeout),
        timedelta(seconds=wanted.lock_timeout),
        timedelta(seconds=wanted.idle_in_transaction_timeout),
    ]
    assert isolation == "read committed"


@pytest.mark.standard("DL-TX-04")
async def test_a_change_that_is_meant_for_an_older_version_is_refused(
    things: layer.database.Database,
) -> None:
    async with things.transaction() as session:
        session.add(thing := Thing(name="bolt"))
    async with (
        things.transaction() as session,
        layer.database.expecting(session, Thing, thing.id, version=1) as found,
    ):
        found.price = Decimal(2)
    with pytest.raises(layer.database.StaleVersion) as raised:
        async with (
            things.transaction() as session,
            layer.database.expecting(session, Thing, thing.id, version=1) as found,
        ):
            found.price = Decimal(3)
    assert (raised.value.expected, raised.value.current) == (1, 2)
    assert await items(things) == [Item("bolt", Decimal(2), 2)]


@pytest.mark.standard("DL-TX-03")
async def test_serializable_is_a_choice(things: layer.database.Database) -> None:
    async def work(session: layer.database.WriteSession) -> str | None:
        session.add(Thing(name="counted"))
        isolation: str | None = await session.scalar(text("SHOW transaction_isolation"))
        return isolation

    assert await things.serializable(work) == "serializable"
    assert await items(things) == [Item("counted")]


@pytest.mark.standard("DL-SQL-02")
async def test_many_rows_go_in_by_copy(things: layer.database.Database) -> None:
    rows = [(f"thing {number:04}", Decimal(number) / 4) for number in range(1000)]
    async with things.transaction() as session:
        copied = await layer.database.copy_in(session, Thing, rows, columns=["name", "price"])
    assert copied == len(rows)
    async with things.read_only() as session:
        query = select(Thing.name, Thing.price).order_by(Thing.name)
        assert (await session.execute(query)).all() == rows


@pytest.mark.standard("DL-SQL-02")
async def test_an_upsert_inserts_updates_and_leaves_alone(
    things: layer.database.Database,
) -> None:
    async def upsert(**prices: int) -> layer.database.Upserted:
        async with things.transaction() as session:
            rows = [{"name": name, "price": Decimal(price)} for name, price in prices.items()]
            return await layer.database.upsert(session, Thing, rows, key=["name"])

    assert await upsert(bolt=1, nut=2) == layer.database.Upserted(2, 0, 0)
    assert await upsert(bolt=1, nut=3, pin=4) == layer.database.Upserted(1, 1, 1)
    assert await items(things) == [
        Item("bolt", Decimal(1)),
        Item("nut", Decimal(3), 2),
        Item("pin", Decimal(4)),
    ]


@pytest.mark.standard("DL-SQL-01")
async def test_parameters_of_raw_sql_are_bound(things: layer.database.Database) -> None:
    name = "'; DROP TABLE layer_test_things; --"
    async with things.transaction() as session:
        session.add(Thing(name=name))
        found = await layer.database.fetch_one(
            session,
            text("SELECT name, price, version FROM layer_test_things WHERE name = :name"),
            Item,
            name=name,
        )
        assert found == Item(name)
        assert await session.scalar(select(func.count()).select_from(Thing)) == 1
