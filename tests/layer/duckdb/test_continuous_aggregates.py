"""Hypertables and continuous aggregates are exported, where a project has both modules."""

from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import (
    URL,
    Column,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    Table,
    func,
    select,
)

from my_project.data_layer.duckdb import Export, Lake, analysis
from tests.layer import has
from tests.layer.duckdb.conftest import Source, settings

if has("timescaledb"):
    timescaledb = import_module("my_project.data_layer.timescaledb")
    servers = import_module("tests.layer.timescaledb.conftest")

    @pytest.fixture
    def source_url() -> Iterator[URL]:
        """A new database on a server with TimescaleDB."""
        with servers.timescaledb_server() as server:
            url = servers.create_database(server)
            yield url
            servers.drop_database(url, server)

    @pytest.mark.standard("DL-DU-05")
    async def test_the_page_s_daily_pattern_is_exported(source: Source, tmp_path: Path) -> None:
        readings = Table(
            "readings",
            MetaData(),
            Column("station_id", Integer, primary_key=True),
            Column("taken_at", DateTime(timezone=True), primary_key=True),
            Column("celsius", Numeric(5, 2)),
            timescaledb.Hypertable("taken_at", retention="10 years"),
        )
        hour = timescaledb.time_bucket("1 hour", readings.c.taken_at)
        hourly = timescaledb.ContinuousAggregate(
            "hourly",
            select(
                readings.c.station_id,
                hour.label("bucket"),
                func.sum(readings.c.celsius).label("sum"),
                func.count().label("readings"),
            ).group_by(readings.c.station_id, hour),
        )
        day = timescaledb.time_bucket("1 day", hourly.c.bucket)
        daily = timescaledb.ContinuousAggregate(
            "daily",
            select(
                hourly.c.station_id,
                day.label("bucket"),
                func.sum(hourly.c.sum).label("sum"),
                func.sum(hourly.c.readings).label("readings"),
            ).group_by(hourly.c.station_id, day),
        )
        source.run(
            "CREATE EXTENSION timescaledb",
            "CREATE TABLE readings (station_id int, taken_at timestamptz, celsius numeric(5, 2),"
            " PRIMARY KEY (station_id, taken_at))",
            "SELECT create_hypertable('readings', 'taken_at')",
            "INSERT INTO readings SELECT 1, t, 1.25"
            " FROM generate_series(timestamptz '2024-01-01 00:00Z', '2024-01-02 23:30Z', '30 min')"
            " AS t",
        )
        for aggregate in (hourly, daily):
            source.run(
                f"CREATE MATERIALIZED VIEW {aggregate.name} WITH (timescaledb.continuous) AS"
                f" {timescaledb.declarations.sql(aggregate.query)}"
            )
        lake = Lake(settings(tmp_path, threads=1))
        of_day = Export("daily", select(*daily.c), time="bucket")
        of_reading = Export("readings", readings, time="taken_at")
        assert (await source.export(lake, of_day)).rows == 2
        assert (await source.export(lake, of_reading)).rows == 96
        with analysis(lake) as opened:
            found = opened.query("SELECT sum, readings FROM daily ORDER BY bucket").fetchall()
        assert found == [(Decimal("60.00"), 48), (Decimal("60.00"), 48)]
