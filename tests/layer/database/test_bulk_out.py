import tracemalloc
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import cast, func, insert, select, union_all
from sqlalchemy.types import BigInteger

from my_project.data_layer.database import (
    Database,
    copy_in,
    copy_out,
)

from .tables import Account, Bar, Model, Mood, Reading

pytestmark = pytest.mark.standard("DL-SQL-02")


async def rows(database: Database, query: Any) -> list[tuple[Any, ...]]:
    async with database.read_only() as session:
        return [row async for row in copy_out(session, query)]


@pytest.fixture
async def filled(database: Database) -> Database:
    async with database.transaction() as session:
        await copy_in(
            session,
            Reading,
            [
                (1, "plain", Mood.calm),
                (2, "50%", None),
                (3, "it's %(quoted)s \\ 'ünï'", Mood.angry),
            ],
            columns=["id", "body", "mood"],
        )
    return database


async def test_a_table_a_model_and_a_query(filled: Database) -> None:
    bar = {"symbol": "btc", "day": date(2026, 1, 1), "close": Decimal("1.5"), "source": {"a": 1}}
    async with filled.transaction() as session:
        await session.execute(insert(Bar).values(bar))
    expected = [("btc", date(2026, 1, 1), Decimal("1.50000000"), {"a": 1})]
    assert await rows(filled, Bar) == expected
    assert await rows(filled, Model.metadata.tables["layer_test.bar"]) == expected
    assert await rows(filled, select(Bar)) == expected
    assert await rows(filled, select(Reading.id, Reading.mood).order_by(Reading.id)) == [
        (1, Mood.calm),
        (2, None),
        (3, Mood.angry),
    ]


@pytest.mark.standard("DL-SQL-01")
@pytest.mark.parametrize("value", ["plain", "50%", "it's %(quoted)s \\ 'ünï'"])
async def test_parameters_are_bound(filled: Database, value: str) -> None:
    query = select(Reading.body).where(Reading.body == value)
    assert await rows(filled, query) == [(value,)]


async def test_parameters_of_other_types(filled: Database) -> None:
    by_mood = select(Reading.id).where(Reading.mood == Mood.angry)
    by_list = select(Reading.id).where(Reading.id.in_([1, 3])).order_by(Reading.id)
    by_nothing = select(Reading.id).where(Reading.id.in_([]))
    assert await rows(filled, by_mood) == [(3,)]
    assert await rows(filled, by_list) == [(1,), (3,)]
    assert await rows(filled, by_nothing) == []


async def test_a_percent_sign_without_parameters(filled: Database) -> None:
    modulo = select(Reading.id % Reading.id).order_by(Reading.id)
    assert await rows(filled, modulo) == [(0,), (0,), (0,)]


async def test_a_join_with_two_columns_of_one_name_and_a_union(filled: Database) -> None:
    other = Reading.__table__.alias("other")
    joined = select(Reading.id, other.c.id).join(other, other.c.id == Reading.id + 1)
    assert sorted(await rows(filled, joined)) == [(1, 2), (2, 3)]
    both = union_all(select(Reading.id), select(Reading.id + 10))
    assert sorted(await rows(filled, both)) == [(1,), (2,), (3,), (11,), (12,), (13,)]


async def test_what_is_pending_is_seen(database: Database) -> None:
    async with database.transaction() as session:
        session.add(Account(owner="ada"))
        query = select(Account.owner)
        assert [row async for row in copy_out(session, query)] == [("ada",)]


async def test_a_stream_that_is_left_early_leaves_the_session_usable(filled: Database) -> None:
    async with filled.transaction() as session:
        session.add(Account(owner="ada"))
        endless = select(func.generate_series(1, 50_000_000))
        async with aclosing(copy_out(session, endless)) as stream:
            async for row in stream:
                if row == (1_000,):
                    break
        session.add(Account(owner="bob"))
    async with filled.read_only() as session:
        assert (await session.execute(select(func.count()).select_from(Account))).scalar() == 2


async def test_a_stream_that_is_dropped_costs_the_connection_and_no_more(
    filled: Database,
) -> None:
    for _ in range(20):
        async with filled.read_only() as session:
            async for _row in copy_out(session, select(func.generate_series(1, 50_000_000))):
                break
    assert len(await rows(filled, select(Reading.id))) == 3


async def test_memory_stays_flat(database: Database) -> None:
    async def peak(number: int) -> tuple[int, int]:
        query = select(func.generate_series(1, number), func.repeat("x", 100), cast(7, BigInteger))
        count = 0
        async with database.read_only() as session:
            tracemalloc.start()
            try:
                async for _row in copy_out(session, query):
                    count += 1
                return count, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    _, few = await peak(3_000)
    count, many = await peak(100_000)
    assert count == 100_000
    # A list of them all would take some 20 MB.
    assert many < few + 1_000_000
