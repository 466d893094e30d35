"""Aggregates are exported like tables: as a view, and as a select of the declaration."""

from decimal import Decimal

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    Table,
    func,
    select,
    text,
    type_coerce,
)

from my_project.data_layer.duckdb import DuckDBError, Export, Lake, analysis
from tests.layer.duckdb.conftest import Source

READINGS = Table(
    "readings",
    MetaData(),
    Column("station_id", Integer),
    Column("taken_at", DateTime(timezone=True)),
    Column("celsius", Numeric(5, 2)),
)
HOUR = func.date_trunc("hour", READINGS.c.taken_at, type_=DateTime(timezone=True))
HOURLY = (
    select(
        READINGS.c.station_id,
        HOUR.label("bucket"),
        func.min(READINGS.c.celsius).label("coldest"),
        func.sum(READINGS.c.celsius).label("sum"),
        func.count().label("readings"),
    )
    .group_by(READINGS.c.station_id, HOUR)
    .subquery("hourly")
)
DAY = func.date_trunc("day", HOURLY.c.bucket, type_=DateTime(timezone=True))
# As the page of the module `timescaledb` has it: the server makes both sums a numeric without
# precision.
DAILY = select(
    HOURLY.c.station_id,
    DAY.label("bucket"),
    func.min(HOURLY.c.coldest).label("coldest"),
    func.sum(HOURLY.c.sum).label("sum"),
    func.sum(HOURLY.c.readings).label("readings"),
).group_by(HOURLY.c.station_id, DAY)
EXPECTED = [(1, Decimal("-1.25"), Decimal("46.80"), 48), (1, Decimal("-1.25"), Decimal("-1.25"), 1)]


@pytest.fixture
def readings(source: Source) -> Source:
    source.run(
        "CREATE TABLE readings (station_id int, taken_at timestamptz, celsius numeric(5, 2))",
        "INSERT INTO readings SELECT 1, t, CASE extract(minute FROM t) WHEN 0 THEN -1.25"
        " ELSE 3.1978 END FROM generate_series(timestamptz '2024-01-01 00:00Z',"
        " '2024-01-02 00:00Z', '30 minutes') AS t",
        "UPDATE readings SET celsius = 3.20 WHERE celsius > 0",
    )
    return source


@pytest.mark.standard("DL-DU-05")
async def test_the_daily_pattern_is_exported_to_the_last_digit(
    readings: Source, lake: Lake
) -> None:
    declared = Export("daily", DAILY, time="bucket", period="year")
    assert (await readings.export(lake, declared)).rows == 2
    assert (await readings.export(lake, declared)).files == ()
    with analysis(lake) as opened:
        found = opened.query(
            "SELECT station_id, coldest, sum, readings FROM daily ORDER BY bucket"
        ).fetchall()
        kinds = {row[0]: row[1] for row in opened.query("DESCRIBE daily").fetchall()}
    assert found == EXPECTED
    assert (kinds["sum"], kinds["readings"]) == ("DECIMAL(38,2)", "DECIMAL(38,0)")
    # A day that was not over is read again once there is one after it.
    readings.run("INSERT INTO readings VALUES (1, '2024-01-02 09:00Z', 2), (1, '2024-01-03Z', 1)")
    await readings.export(lake, declared)
    with analysis(lake) as opened:
        assert opened.query("SELECT sum, readings FROM daily ORDER BY bucket").fetchall() == [
            (Decimal("46.80"), 48),
            (Decimal("0.75"), 2),
            (Decimal("1.00"), 1),
        ]


async def test_a_view_is_exported_with_the_types_that_the_declaration_knows(
    readings: Source, lake: Lake
) -> None:
    """As a continuous aggregate is: `select(*DAILY.c)`, whose columns SQLAlchemy has types for."""
    readings.run(
        "CREATE VIEW daily AS SELECT station_id, date_trunc('day', taken_at, 'UTC') AS bucket,"
        " min(celsius) AS coldest, sum(celsius) AS sum, sum(1::bigint) AS readings"
        " FROM readings GROUP BY 1, 2"
    )
    view = Table("daily", MetaData(), *(Column(c.name, c.type) for c in DAILY.selected_columns))
    declared = Export("daily", select(*view.c), time="bucket")
    await readings.export(lake, declared)
    with analysis(lake) as opened:
        found = opened.query(
            "SELECT station_id, coldest, sum, readings FROM daily ORDER BY bucket"
        ).fetchall()
    assert found == EXPECTED
    raw = Export("raw", text("SELECT * FROM daily"), time="bucket")
    with pytest.raises(DuckDBError, match=r"sum is numeric without precision, .*cast to numeric"):
        await readings.export(lake, raw)


@pytest.mark.parametrize(
    "value", ["0.001", "123456789012345678901234567890123456789", "'NaN'", "'Infinity'"]
)
async def test_digits_that_were_not_declared_are_refused_by_name(
    source: Source, lake: Lake, value: str
) -> None:
    source.run(f"CREATE TABLE odd AS SELECT date '2024-01-01' AS day, {value}::numeric AS c")
    declared = select(text("day"), type_coerce(text("c"), Numeric(5, 2)).label("c")).select_from(
        text("odd")
    )
    with pytest.raises(DuckDBError, match=r"c is NaN or has more digits than the numeric\(38, 2\)"):
        await source.export(lake, Export("odd", declared, time="day"))
    assert lake.files(Export("other", declared, time="day")) == []
