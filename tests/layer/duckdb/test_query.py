"""Queries read the lake, within limits, and can do nothing else."""

from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas
import polars
import pytest
from sqlalchemy import text

from my_project.data_layer.duckdb import (
    DuckDBError,
    DuckDBSettings,
    Export,
    Lake,
    analysis,
    sql_file,
)
from my_project.data_layer.errors import DataLayerError
from tests.layer.duckdb.conftest import Source, settings


@pytest.fixture
async def closes(source: Source, lake: Lake) -> Export:
    source.run(
        "CREATE TABLE closes AS SELECT date '2020-01-01' + n AS day,"
        " (n % 7)::numeric(12, 4) AS price FROM generate_series(0, 1500) AS n"
    )
    declared = Export("closes", text("SELECT * FROM closes"), time="day", period="year")
    await source.export(lake, declared)
    return declared


async def test_results_come_as_rows_arrow_polars_and_pandas(closes: Export, lake: Lake) -> None:
    statement = (
        "SELECT day, price FROM closes WHERE day >= CAST($since AS DATE) ORDER BY day LIMIT 2"
    )
    with analysis(lake) as opened:
        rows = opened.query(statement, since="2022-02-01").fetchall()
        assert rows == [(date(2022, 2, 1), Decimal(6)), (date(2022, 2, 2), Decimal(0))]
        assert opened.query(statement, since="2022-02-01").to_arrow_table().num_rows == 2
        frame = opened.query(statement, since="2022-02-01").pl()
        assert isinstance(frame, polars.DataFrame)
        assert frame["price"].to_list() == [6, 0]
        assert isinstance(opened.query(statement, since="2022-02-01").df(), pandas.DataFrame)


async def test_the_time_zone_is_utc_wherever_the_machine_is(lake: Lake) -> None:
    with analysis(lake, only=[]) as opened:
        [(zone,)] = opened.query("SELECT current_setting('TimeZone')").fetchall()
    assert zone == "UTC"


async def test_two_results_are_read_by_turns(closes: Export, lake: Lake) -> None:
    with analysis(lake) as opened:
        one = opened.query("SELECT day FROM closes ORDER BY day")
        two = opened.query("SELECT day FROM closes ORDER BY day DESC")
        assert (one.fetchone(), two.fetchone()) == ((date(2020, 1, 1),), (date(2024, 2, 9),))
        assert one.fetchone() == (date(2020, 1, 2),)


async def test_files_that_cannot_match_are_not_read(closes: Export, lake: Lake) -> None:
    with analysis(lake) as opened:
        explained = opened.query(
            "EXPLAIN ANALYZE SELECT sum(price) FROM closes WHERE day >= DATE '2024-02-01'"
        ).fetchall()
    assert "9 rows" in str(explained)


async def test_the_standard_s_example_works(
    closes: Export, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lake.folder)
    result = duckdb.query("""
        SELECT day, price
        FROM '*_closes_tick_*.parquet'
        WHERE day >= '2023-01-01'
    """).df()
    assert len(result) == 405


FORBIDDEN = (
    "COPY closes TO '{lake}/stolen.parquet'",
    "EXPLAIN ANALYZE COPY closes TO '{lake}/stolen.parquet'",
    "CREATE TABLE mine AS SELECT 1",
    "ATTACH '{lake}/mine.db'",
    "SET memory_limit = '100GB'",
    "SELECT 1; SELECT 2",
    "INSTALL httpfs",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '{outside}'",
    "SELECT * FROM '{lake}/../outside.parquet'",
    "SELECT * FROM 'https://example.invalid/a.parquet'",
    "SELECT nothing FROM closes",
    "SELECT $undefined",
)


async def test_it_reads_the_lake_and_does_nothing_else(
    closes: Export, lake: Lake, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.parquet"
    duckdb.sql("SELECT 1 AS one").write_parquet(str(outside))
    before = sorted(lake.folder.iterdir())
    done = []
    with analysis(lake) as opened:
        for statement in FORBIDDEN:
            with suppress(DuckDBError):
                opened.query(statement.format(lake=lake.folder, outside=outside))
                done.append(statement)
    assert done == []
    assert sorted(lake.folder.iterdir()) == before


async def test_what_exceeds_the_memory_goes_to_disk_and_is_gone_after(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    limits = settings(tmp_path, memory_limit="64MB", temp_directory=spill)
    with analysis(Lake(limits)) as opened:
        sorting = (
            "SELECT i FROM (SELECT i, hash(i) AS h FROM range(8000000) AS t(i) ORDER BY h, i)"
            " OFFSET 7999999"
        )
        assert len(opened.query(sorting).fetchall()) == 1
        with pytest.raises(DuckDBError, match="DUCKDB_MEMORY_LIMIT"):
            opened.query("SELECT len(list(i)) FROM range(50000000) AS t(i)")
    assert list(spill.iterdir()) == []


def test_what_a_killed_query_left_on_the_disk_goes_and_a_running_ones_stays(
    tmp_path: Path,
) -> None:
    limits = settings(tmp_path, temp_directory=tmp_path)
    left = tmp_path / "duckdb-spill-killed"
    left.mkdir()
    (left / "block.tmp").write_bytes(b"spilt")
    with analysis(Lake(limits)):
        assert not left.exists()
        running = set(tmp_path.glob("duckdb-spill-*"))
        assert len(running) == 1
        with analysis(Lake(limits)):
            assert running < set(tmp_path.glob("duckdb-spill-*"))
    assert list(tmp_path.glob("duckdb-spill-*")) == []


async def test_an_export_without_files_says_so(lake: Lake) -> None:
    Export("prices", text("SELECT 1"), time="day")
    with (
        analysis(lake) as opened,
        pytest.raises(DuckDBError, match="prices has no file yet; run `export"),
    ):
        opened.query("SELECT * FROM prices")


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory_limit", "much"), ("threads", 0), ("row_group_size", 3000)],
)
def test_settings_say_what_is_wrong(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        DuckDBSettings.model_validate({name: value})


def test_a_limit_that_duckdb_refuses_is_a_sentence(tmp_path: Path) -> None:
    lake = Lake(settings(tmp_path, memory_limit="99999999999999999999TB"))
    with pytest.raises(DuckDBError, match=r"DUCKDB_MEMORY_LIMIT=9.* too large"), analysis(lake):
        pass


def test_a_sql_file_that_is_not_there() -> None:
    with pytest.raises(DataLayerError, match="has no SQL file nothing"):
        sql_file("my_project.data_layer", "nothing.sql")
