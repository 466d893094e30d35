import tracemalloc
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from my_project.data_layer.database import (
    Database,
    NoSingleRow,
    RowMismatch,
    fetch_all,
    fetch_one,
    statement,
    stream,
)
from my_project.data_layer.errors import DataLayerError

from .tables import Account

pytestmark = pytest.mark.standard("DL-SQL-01")

COUNT_TO = statement(__package__ or "", "statements/count_to.sql").bindparams(
    bindparam("words", type_=ARRAY(Text))
)


@dataclass(frozen=True)
class AsDataclass:
    number: int
    word: str
    price: Decimal
    note: str = "default"
    notes: list[str] = field(default_factory=list)


class AsNamedTuple(NamedTuple):
    number: int
    word: str
    price: Decimal
    note: str = "default"


class Owner(NamedTuple):
    owner: str


class AsModel(BaseModel):
    number: int
    word: str
    price: Decimal
    note: str = "default"


@pytest.mark.parametrize("row", [AsDataclass, AsNamedTuple, AsModel])
async def test_rows_are_typed(database: Database, row: type[Any]) -> None:
    async with database.read_only() as session:
        rows = await fetch_all(session, COUNT_TO, row, last=3, words=None)
        [one] = await fetch_all(session, COUNT_TO, row, last=3, words=["2"])
        streamed = [each async for each in stream(session, COUNT_TO, row, last=3, words=None)]
    assert rows == streamed
    assert all(type(each) is row for each in rows)
    assert [each.number for each in rows] == [1, 2, 3]
    assert one == row(number=2, word="2", price=Decimal("3.0"))
    assert type(one.price) is Decimal


async def test_a_select_of_columns_works_as_well(database: Database) -> None:
    class Owner(NamedTuple):
        owner: str

    async with database.transaction() as session:
        session.add(Account(owner="ada"))
        assert await fetch_one(session, select(Account.owner), Owner) == Owner("ada")


@pytest.mark.parametrize("value", ["'; DROP TABLE layer_test.account; --", "50%", ":word", "\\"])
async def test_a_parameter_is_never_part_of_the_text(database: Database, value: str) -> None:
    class Word(NamedTuple):
        word: str

    async with database.read_only() as session:
        echo = text("SELECT CAST(:session AS text) AS word")
        # Its own name may be that of an argument.
        assert (await fetch_one(session, echo, Word, session=value)).word == value
        assert await session.scalar(select(Account.id)) is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS number, 'x' AS word", "the statement has no column price"),
        ("SELECT 1 AS number, 'x' AS word, 1 AS price, 2 AS extra", "has no field extra"),
        ("SELECT 1 AS number, 'x' AS word, 1 AS price, 2 AS price", "two columns have one name"),
        ("SELECT NULL AS number, 'x' AS word, 1 AS price", "number: Input should be a valid int"),
        ("SELECT 1 AS number, 'x' AS word, 'hunter2' AS price", "price: Input should be a valid"),
        ("SELECT 1 AS number, 'x' AS word WHERE false", "the statement has no column price"),
    ],
)
async def test_rows_that_do_not_fit_are_an_error(database: Database, query: str, said: str) -> None:
    async with database.read_only() as session:
        with pytest.raises(RowMismatch, match=said) as raised:
            await fetch_all(session, text(query), AsDataclass)
        with pytest.raises(RowMismatch, match=said):
            async for _row in stream(session, text(query), AsDataclass):
                pass
        assert await session.scalar(select(1)) == 1
    assert "AsDataclass" in str(raised.value)
    assert "hunter2" not in str(raised.value)


async def test_exactly_one_row_is_one(database: Database) -> None:
    async with database.read_only() as session:
        row = await fetch_one(session, COUNT_TO, AsModel, last=1, words=None)
        assert row.number == 1
        for last in (0, 2):
            with pytest.raises(NoSingleRow, match=f"gave {last} rows"):
                await fetch_one(session, COUNT_TO, AsModel, last=last, words=None)


async def test_a_stream_can_be_left(database: Database) -> None:
    async with database.read_only() as session:
        rows = stream(session, COUNT_TO, AsModel, last=1_000_000, words=None)
        async with aclosing(rows):
            async for row in rows:
                if row.number == 5:
                    break
        assert await session.scalar(select(1)) == 1


async def test_streams_that_are_dropped_cost_their_connection_and_no_more(
    database: Database,
) -> None:
    for _ in range(20):
        async with database.read_only() as session:
            async for _row in stream(session, COUNT_TO, AsModel, last=100_000, words=None):
                break
    async with database.read_only() as session:
        assert await session.scalar(select(1)) == 1


async def test_a_stream_sees_what_is_pending(database: Database) -> None:
    async with database.transaction() as session:
        session.add(Account(owner="50% ada"))
        query = select(Account.owner).where(Account.owner.like("50\\%%"))
        assert [row async for row in stream(session, query, Owner)] == [Owner("50% ada")]


async def test_a_stream_takes_the_memory_of_a_few_rows(database: Database) -> None:
    async def peak(number: int) -> tuple[int, int]:
        query = select(func.generate_series(1, number), func.repeat("x", 100).label("owner"))
        owners = select(query.subquery().c.owner)
        count = 0
        async with database.read_only() as session:
            tracemalloc.start()
            try:
                async for _row in stream(session, owners, Owner):
                    count += 1
                return count, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    _, few = await peak(3_000)
    count, many = await peak(50_000)
    assert count == 50_000
    # A list of them all would take some 10 MB.
    assert many < few + 1_000_000


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataLayerError, match=r"no SQL file nonsense\.sql"):
        statement(__package__ or "", "nonsense.sql")


async def test_other_types_are_refused(database: Database) -> None:
    async with database.read_only() as session:
        with pytest.raises(TypeError, match="neither a dataclass"):
            await fetch_all(session, text("SELECT 1 AS number"), int)
