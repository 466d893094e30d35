"""Results go back whole, once a run, or not at all."""

import asyncio

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Column, Integer, MetaData, Numeric, Table, Text, text

from my_project.data_layer.database import RowRejected
from my_project.data_layer.duckdb import (
    DuckDBError,
    Lake,
    WrittenBack,
    analysis,
    write_back,
)
from tests.layer.duckdb.conftest import Source

TOTALS = Table(
    "totals",
    MetaData(),
    Column("key", Integer, primary_key=True),
    Column("value", Numeric(12, 4)),
    Column("run_id", Text),
)


@pytest.fixture
def totals(source: Source) -> Source:
    source.run(
        "CREATE TABLE totals (key int PRIMARY KEY, value numeric(12, 4) CHECK (value < 1000000),"
        " run_id text)"
    )
    return source


async def write(source: Source, lake: Lake, statement: str, run_id: str) -> WrittenBack:
    with analysis(lake, only=[]) as opened:
        result = opened.query(statement)
        return await write_back(source.database, TOTALS, result, key=["key"], run_id=run_id)


async def test_a_run_is_written_once(totals: Source, lake: Lake) -> None:
    rows = "SELECT i AS key, CAST(i / 8 AS DECIMAL(12, 4)) AS value FROM range(20000) AS t(i)"
    assert await write(totals, lake, rows, "monday") == WrittenBack(inserted=20_000)
    assert await write(totals, lake, rows, "monday") == WrittenBack(repeated=True)
    half = f"SELECT key, value + key % 2 AS value FROM ({rows}) WHERE key < 10"
    done = await write(totals, lake, half, "tuesday")
    # Each row tells the run that wrote it last.
    assert done == WrittenBack(updated=10)
    assert totals.run("SELECT run_id, count(*) FROM totals GROUP BY 1 ORDER BY 1") == [
        ("monday", 19_990),
        ("tuesday", 10),
    ]


async def test_a_row_that_does_not_fit_leaves_nothing(totals: Source, lake: Lake) -> None:
    rows = "SELECT i AS key, CAST(i AS DECIMAL(12, 4)) AS value FROM range(1000001) AS t(i)"
    with pytest.raises(RowRejected, match="breaks totals_value_check"):
        await write(totals, lake, f"{rows} WHERE i > 980000", "monday")
    assert totals.run("SELECT count(*) FROM totals") == [(0,)]
    # So the run can be repeated.
    assert not (await write(totals, lake, f"{rows} WHERE i < 5", "monday")).repeated


async def test_two_rows_with_one_key_are_refused(totals: Source, lake: Lake) -> None:
    """Which of them should stay, only the query can say."""
    rows = "SELECT i % 9999 AS key, CAST(i AS DECIMAL(12, 4)) AS value FROM range(10001) AS t(i)"
    told = r"Of the 10,001 rows for totals, 2 have the key \(key\) of another one"
    with pytest.raises(DuckDBError, match=told):
        await write(totals, lake, rows, "monday")
    assert totals.run("SELECT count(*) FROM totals") == [(0,)]
    done = await write(totals, lake, f"{rows} WHERE i < 9999", "monday")
    assert done == WrittenBack(inserted=9_999)


async def test_two_processes_with_one_run_write_it_once(totals: Source, lake: Lake) -> None:
    rows = "SELECT i AS key, CAST(random() AS DECIMAL(12, 4)) AS value FROM range(3000) AS t(i)"
    done = await asyncio.gather(*(write(totals, lake, rows, "monday") for _ in range(3)))
    assert sorted(one.repeated for one in done) == [False, True, True]


async def test_what_marks_a_run_must_be_there(totals: Source) -> None:
    result = pa.table({"key": [1], "run_id": ["mine"]})
    with pytest.raises(DuckDBError, match="column run_id of its own"):
        await write_back(totals.database, TOTALS, result, key=["key"], run_id="monday")
    with pytest.raises(DuckDBError, match="no column batch"):
        await write_back(
            totals.database, TOTALS, result, key=["key"], run_id="monday", run_column="batch"
        )


async def test_memory_stays_flat(totals: Source, lake: Lake) -> None:
    """A result is never whole in Python: what it holds at once is a few batches."""
    totals.run("ALTER TABLE totals DROP CONSTRAINT totals_value_check")
    before = pa.total_allocated_bytes()
    peak = 0

    def watched() -> object:
        nonlocal peak
        with analysis(lake, only=[]) as opened:
            rows = "SELECT CAST(i AS INTEGER) AS key, CAST(1 AS DECIMAL(12, 4)) AS value"
            for batch in opened.query(f"{rows} FROM range(200000) AS t(i)").to_arrow_reader(5000):
                peak = max(peak, pa.total_allocated_bytes() - before)
                yield batch

    batches = watched()
    schema = pa.schema([("key", pa.int32()), ("value", pa.decimal128(12, 4))])
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    done = await write_back(totals.database, TOTALS, reader, key=["key"], run_id="one")
    assert done.inserted == 200_000
    assert peak < 5_000_000
    async with totals.database.read_only() as session:
        assert await session.scalar(text("SELECT sum(value) FROM totals")) == 200_000
