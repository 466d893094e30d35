# ruff: noqa: PT012 (what is raised comes out of a whole transaction)
import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv6Address
from typing import Any
from uuid import UUID

import pyarrow  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Double, cast, func, select, text

from my_project.data_layer.database import (
    Database,
    RowRejected,
    UnknownColumn,
    copy_in,
)

from .tables import Account, Bar, Doctor, Model, Mood, Moods, Note, Reading

pytestmark = pytest.mark.standard("DL-SQL-02")

# A timestamp without a zone would be in the zone of whichever session reads it.
MOMENTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
INT4 = st.integers(-(2**31), 2**31 - 1)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "small": st.integers(-(2**15), 2**15 - 1).filter(lambda number: number != 13),
    "single": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "price": st.decimals(
        min_value=Decimal(-(10**27)), max_value=Decimal(10**27), places=10, allow_nan=False
    ),
    "flag": st.booleans(),
    "day": st.dates(),
    "moment": MOMENTS,
    "clock": st.times(),
    "span": st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    "body": TEXTS,
    "raw": st.binary(),
    "uid": st.uuids(),
    "document": st.dictionaries(TEXTS, JSONS, max_size=3),
    "plain": JSONS.filter(lambda value: value is not None),
    "address": st.ip_addresses(),
    "mood": st.sampled_from(Mood),
    "size": st.integers(1, 2**31 - 1),
    "counts": st.lists(INT4 | st.none()),
    "words": st.lists(TEXTS),
}
COLUMNS = ["id", *VALUES]
READINGS = st.lists(
    st.tuples(*(st.none() | strategy for strategy in VALUES.values())), max_size=5
).map(lambda rows: [(number, *row) for number, row in enumerate(rows)])


async def stored(database: Database, columns: list[str] = COLUMNS) -> list[tuple[Any, ...]]:
    table = Reading.__table__
    # As text a float of 32 bits comes with the fewest digits that tell it from its neighbours.
    asked = [
        cast(table.columns[name], Double) if name == "single" else table.columns[name]
        for name in columns
    ]
    query = select(*asked).order_by(table.columns["id"])
    async with database.read_only() as session:
        return [tuple(row) for row in await session.execute(query)]


async def count(database: Database, model: type[Any] = Reading) -> int:
    async with database.read_only() as session:
        return (await session.execute(select(func.count()).select_from(model))).scalar_one()


@given(rows=READINGS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_what_goes_in_comes_out(database: Database, rows: list[tuple[Any, ...]]) -> None:
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM layer_test.reading"))
        assert await copy_in(session, Reading, rows) == len(rows)
    found = await stored(database)
    assert found == rows
    assert [list(map(type, row)) for row in found] == [list(map(type, row)) for row in rows]


async def test_the_orm_reads_what_copy_wrote(database: Database) -> None:
    row = {
        "id": 1,
        "price": Decimal("-Infinity"),
        "double": float("inf"),
        "single": float("-inf"),
        "mood": Mood.angry,
        "document": {"a": [1, None]},
        "address": IPv6Address("::1"),
        "moment": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "uid": UUID(int=7),
        "counts": [1, None, 3],
    }
    async with database.transaction() as session:
        # A numeric with a precision holds no infinity.
        await copy_in(session, Reading, [{k: v for k, v in row.items() if k != "price"}])
    async with database.read_only() as session:
        reading = await session.get_one(Reading, 1)
        assert {name: getattr(reading, name) for name in row if name != "price"} == {
            name: value for name, value in row.items() if name != "price"
        }
        assert reading.doubled == 2
    with pytest.raises(RowRejected):
        async with database.transaction() as session:
            await copy_in(session, Reading, [{**row, "id": 2}])


async def test_a_type_without_a_binary_form_goes_as_text(database: Database) -> None:
    rows = [(1, [Mood.calm, Mood.angry]), (2, [])]
    async with database.transaction() as session:
        assert await copy_in(session, Moods, rows) == 2
    async with database.read_only() as session:
        assert (await session.execute(select(*Moods.__table__.columns))).all() == rows


async def test_rows_of_every_kind(database: Database) -> None:
    async def slowly() -> AsyncIterator[dict[str, Any]]:
        for number in range(30, 33):
            await asyncio.sleep(0)
            yield {"id": number, "body": "async"}

    def lazily() -> Iterator[tuple[int, str]]:
        yield from ((number, "lazy") for number in range(10, 13))

    columns = ["id", "body"]
    table = pyarrow.table({"body": ["arrow"] * 3, "id": [40, 41, 42]})
    reader = pyarrow.RecordBatchReader.from_batches(
        pyarrow.schema([("id", pyarrow.int64()), ("body", pyarrow.string())]),
        iter([pyarrow.record_batch({"id": [50], "body": ["reader"]})] * 1),
    )
    async with database.transaction() as session:
        assert await copy_in(session, Reading, [[1, "list"], [2, "list"]], columns=columns) == 2
        assert await copy_in(session, Reading, lazily(), columns=columns) == 3
        assert await copy_in(session, Reading, [{"body": "mapping", "id": 20}]) == 1
        assert await copy_in(session, Reading, slowly()) == 3
        assert await copy_in(session, Reading, table) == 3
        assert await copy_in(session, Reading, reader, columns=columns) == 1
        assert await copy_in(session, Model.metadata.tables["layer_test.reading"], []) == 0
        assert await copy_in(session, Reading, pyarrow.table({"id": []})) == 0
    assert [row[1] for row in await stored(database, columns)] == (
        ["list"] * 2 + ["lazy"] * 3 + ["mapping"] + ["async"] * 3 + ["arrow"] * 3 + ["reader"]
    )


async def test_arrow_types(database: Database) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    nanoseconds = pyarrow.array([moment, None], pyarrow.timestamp("ns", "UTC"))
    table = pyarrow.table(
        {
            "id": pyarrow.array([1, 2], pyarrow.int16()),
            "moment": nanoseconds,
            "day": [date(2026, 1, 2), None],
            "clock": [time(1, 2, 3, 4), None],
            "price": [Decimal("1.25"), None],
            "raw": [b"\0x", None],
            "flag": [True, None],
            "body": pyarrow.array(["a", None]).dictionary_encode(),
            "counts": [[1, 2], None],
        }
    )
    async with database.transaction() as session:
        await copy_in(session, Reading, table)
    assert await stored(database, table.column_names) == [
        (1, moment, date(2026, 1, 2), time(1, 2, 3, 4), Decimal("1.25"), b"\0x", True, "a", [1, 2]),
        (2, *[None] * 8),
    ]


def test_pyarrow_is_only_imported_for_arrow() -> None:
    source = sys.modules[copy_in.__module__].__dict__
    assert not [name for name, value in source.items() if "pyarrow" in repr(value)[:40]]


async def test_the_server_fills_what_is_left_out(database: Database) -> None:
    async with database.transaction() as session:
        # An identity column is left out by default, a generated one always.
        await copy_in(session, Doctor, [("ada", True), ("bob", False)])
        await copy_in(session, Account, [{"owner": "ada"}])
        await copy_in(session, Note, [("x",)], columns=["body"])
        assert (await session.scalars(select(Doctor.name).order_by(Doctor.id))).all() == [
            "ada",
            "bob",
        ]
        account = (await session.scalars(select(Account))).one()
        assert (account.version, account.balance) == (1, Decimal(0))


async def test_an_identity_that_is_named_is_written(database: Database) -> None:
    async with database.transaction() as session:
        await copy_in(session, Account, [(77, "ada")], columns=["id", "owner"])
    async with database.read_only() as session:
        assert (await session.get_one(Account, 77)).owner == "ada"


async def test_what_is_pending_is_written_before(database: Database) -> None:
    async with database.transaction() as session:
        session.add(Reading(id=1))
        with pytest.raises(RowRejected, match="pk_reading"):
            async with session.begin_nested():
                await copy_in(session, Reading, [{"id": 1}])
    assert await count(database) == 1


async def test_progress_is_told(database: Database) -> None:
    told: list[int] = []
    async with database.transaction() as session:
        await copy_in(
            session,
            Reading,
            ((number,) for number in range(12_000)),
            columns=["id"],
            progress=told.append,
        )
    assert told[-1] == 12_000
    assert len(told) >= 3
    assert told == sorted(set(told))


async def test_a_long_load_lets_others_have_their_turn(database: Database) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    async with database.transaction() as session:
        begun = turns
        await copy_in(session, Reading, ((number,) for number in range(50_000)), columns=["id"])
        during = turns - begun
    task.cancel()
    assert during > 8


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"small": 40_000}, "small is smallint"),
        ({"id": 2**31}, "id is integer"),
        ({"id": -(2**31) - 1}, "id is integer"),
        ({"id": "7"}, "of type str"),
        ({"id": 1.5}, "of type float"),
        ({"single": 1e300}, "single is real"),
        ({"counts": [1, 2**40]}, r"counts is integer\[\]"),
        ({"flag": "false"}, "flag is boolean"),
        ({"day": datetime(2026, 1, 1, 5, tzinfo=UTC)}, "day is date"),
        ({"moment": datetime(2026, 1, 1)}, "moment is timestamp with time zone"),  # noqa: DTZ001
        ({"raw": "text"}, "raw is bytea"),
        ({"body": b"bytes"}, "body is text"),
        ({"uid": "no"}, "uid is uuid"),
        ({"price": 1.5}, r"price is numeric\(38,10\)"),
        ({"mood": "furious"}, "column mood: A value"),
        ({"address": "1.2.3.4"}, "address is inet"),
        ({"words": [b"x"]}, r"words is text\[\]"),
        ({"size": 0}, "size_check"),
        ({"small": 13}, "no_bad_luck"),
        ({"price": Decimal(10) ** 30}, "numeric value out of range"),
        ({"body": "\0"}, "column body: A value"),
    ],
)
async def test_a_row_that_does_not_fit_is_named(
    database: Database, bad: dict[str, Any], said: str
) -> None:
    [column] = bad
    rows = [{"id": number, column: None if column != "id" else number} for number in range(5, 9)]
    rows[2] = {"id": 7, **bad}
    with pytest.raises(RowRejected, match=said) as raised:
        async with database.transaction() as session:
            session.add(Reading(id=1))
            await copy_in(session, Reading, rows)
    assert raised.value.row == 3
    assert "row 3 " in str(raised.value).lower()
    assert await count(database) == 0


async def test_a_bad_row_after_many_good_ones(database: Database) -> None:
    def rows() -> Iterator[tuple[int, int]]:
        for number in range(1, 20_000):
            yield (number, 2**15 if number == 17_003 else 1)

    with pytest.raises(RowRejected) as raised:
        async with database.transaction() as session:
            await copy_in(session, Reading, rows(), columns=["id", "small"])
    assert raised.value.row == 17_003
    assert await count(database) == 0


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        ([(1, "a"), (2,)], 2),
        ([(1, "a"), (2, "b", 3)], 2),
        ([(1, "a"), "ab"], 2),
        ([(1, "a"), {"id": 1, "body": "x"}], 2),
        ([(1, "a"), 7], 2),
        ([(1, "a"), None], 2),
        ([{"id": 1, "body": "a"}, {"id": 2}], 2),
        ([{"id": 1, "body": "a"}, {"id": 2, "body": "b", "more": 1}], 2),
        ([{"id": 1, "body": "a"}, (2, "b")], 2),
    ],
)
async def test_a_row_of_another_shape_is_named(
    database: Database, rows: list[Any], row: int
) -> None:
    with pytest.raises(RowRejected) as raised:
        async with database.transaction() as session:
            await copy_in(session, Reading, rows, columns=["id", "body"])
    assert raised.value.row == row
    assert await count(database) == 0


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([(1,)], ["nonsense"], "no column 'nonsense'; it has id, small"),
        ([{"nonsense": 1}], None, "no column 'nonsense'"),
        ([(1, 2)], ["id", "doubled"], "generates doubled itself"),
        ([(1, 2)], ["id", "id"], "named twice"),
        (pyarrow.table({"nonsense": [1]}), None, "no column 'nonsense'"),
        (pyarrow.table({"id": [1]}), ["id", "body"], "lacks body"),
        ([], ["nonsense"], "no column 'nonsense'"),
    ],
)
async def test_a_wrong_column_is_named(
    database: Database, rows: Any, columns: list[str] | None, said: str
) -> None:
    async with database.transaction() as session:
        with pytest.raises(UnknownColumn, match=said):
            await copy_in(session, Reading, rows, columns=columns)
        # Nothing was sent to the server yet.
        assert (await session.execute(select(1))).scalar() == 1


async def test_the_senders_own_error_passes_unchanged(database: Database) -> None:
    def rows() -> Iterator[tuple[int]]:
        yield (1,)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        async with database.transaction() as session:
            await copy_in(session, Reading, rows(), columns=["id"])
    assert await count(database) == 0


async def test_a_cancelled_load_leaves_nothing(database: Database) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[tuple[int]]:
        for number in range(10**9):
            if number == 20_000:
                started.set()
            if not number % 1_000:
                await asyncio.sleep(0)
            yield (number,)

    async def load() -> None:
        async with database.transaction() as session:
            await copy_in(session, Reading, endless(), columns=["id"])

    task = asyncio.create_task(load())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(database) == 0


async def test_a_load_goes_into_the_partitions(database: Database) -> None:
    async with database.transaction() as session:
        await copy_in(session, Bar, [("btc", date(2026, 1, 1), Decimal(1), {"a": None})])
    assert await count(database, Bar) == 1


async def test_the_constraint_is_named(database: Database) -> None:
    with pytest.raises(RowRejected) as raised:
        async with database.transaction() as session:
            await copy_in(session, Account, [{"owner": "ada"}, {"owner": "ada"}])
    assert (raised.value.row, raised.value.kind) == (2, "unique")
    assert raised.value.constraint == "uq_account_owner"
