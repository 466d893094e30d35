"""DuckDB as this project is set up: from PostgreSQL to the lake, to an answer, and back."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.data_layer import layer
from tests.data_layer.conftest import Ask
from tests.data_layer.things import Thing

DAYS = [datetime(2024, month, 15, tzinfo=UTC) for month in (1, 1, 2)]


@pytest.fixture(autouse=True)
def _own_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the settings at an empty lake, and let the project declare no exports."""
    monkeypatch.setenv("DUCKDB_LAKE", str(tmp_path / "lake"))
    # One connection: a small server may have only one session.
    monkeypatch.setenv("DUCKDB_THREADS", "1")
    monkeypatch.setattr(layer.duckdb.declarations, "_declared", {})


@pytest.fixture
async def exported(things: layer.database.Database) -> layer.duckdb.Export:
    """The export of three things, in the lake."""
    rows = [(f"thing {number}", Decimal(number), day) for number, day in enumerate(DAYS, start=1)]
    async with things.transaction() as session:
        await layer.database.copy_in(session, Thing, rows, columns=["name", "price", "created_at"])
    declared = layer.duckdb.Export("things", Thing, time=Thing.created_at)
    done = await layer.duckdb.export(things, layer.wiring.lake(), declared)
    assert (len(done.files), done.rows) == (2, 3)
    return declared


async def test_an_export_is_a_file_a_month_named_by_the_convention(
    exported: layer.duckdb.Export, things: layer.database.Database, tmp_path: Path
) -> None:
    lake = layer.wiring.lake()
    assert lake.folder == tmp_path / "lake"
    names = [file.path.name for file in lake.files(exported)]
    assert names == [
        f"{exported.series.source}_things_tick_20240101_20240131.parquet",
        f"{exported.series.source}_things_tick_20240201_20240229.parquet",
    ]
    # A second export reads only what is new, and nothing is new.
    assert (await layer.duckdb.export(things, lake, exported)).files == ()


async def test_an_analysis_sees_every_value_and_changes_nothing(
    exported: layer.duckdb.Export,
) -> None:
    with layer.duckdb.analysis(layer.wiring.lake()) as lake:
        rows = lake.query(
            "SELECT name, price, created_at FROM things WHERE price >= $least ORDER BY name",
            least=2,
        ).fetchall()
        assert [(name, price) for name, price, _ in rows] == [("thing 2", 2), ("thing 3", 3)]
        assert [moment.astimezone(UTC) for *_, moment in rows] == DAYS[1:]
        with pytest.raises(layer.duckdb.DuckDBError):
            lake.query("DROP VIEW things")


@pytest.mark.usefixtures("exported")
async def test_a_result_goes_back_once(things: layer.database.Database) -> None:
    total = "SELECT 'total' AS name, sum(price)::DECIMAL(12, 2) AS price FROM things"
    for repeated in (False, True):
        with layer.duckdb.analysis(layer.wiring.lake()) as lake:
            done = await layer.duckdb.write_back(
                things, Thing, lake.query(total), key=["name"], run_id="of today"
            )
        assert (done.repeated, done.inserted) == (repeated, 0 if repeated else 1)
    async with things.read_only() as session:
        stored = (await session.scalars(select(Thing).filter_by(name="total"))).one()
    assert (stored.price, stored.run_id) == (Decimal(6), "of today")


@pytest.mark.usefixtures("database_in_environment", "exported")
async def test_the_lake_keeps_to_the_standard(ask: Ask) -> None:
    await ask(*(f"DL-DU-0{number}" for number in range(1, 7)))
