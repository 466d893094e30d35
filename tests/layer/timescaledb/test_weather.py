"""Weather stations instead of markets: models, migration, load, corrections, queries."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, text, update

from my_project.data_layer.database import Database, LimitExceeded, copy_in, fetch_all, upsert
from my_project.data_layer.timescaledb import (
    ContinuousAggregate,
    TimescaleDBError,
    backfill,
    refresh,
)
from tests.layer.timescaledb.conftest import Project
from tests.layer.timescaledb.weather import DAILY, HOURLY, LEVELS, Reading

BERLIN = ZoneInfo("Europe/Berlin")
# Some of the year these days hold the end of summer time, and one of them 25 hours.
BEGIN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=120)


class Row(NamedTuple):
    station_id: int
    taken_at: datetime
    celsius: float
    rain: float


@dataclass(frozen=True)
class Summary:
    station_id: int
    bucket: datetime
    coldest: float
    warmest: float
    sum: float
    readings: int
    rain: float


readings = st.builds(
    Row,
    st.integers(1, 3),
    st.integers(0, 100 * 24 * 60).map(lambda minutes: BEGIN + timedelta(minutes=minutes)),
    # Quarters add up exactly, in any order.
    st.integers(-80, 160).map(lambda quarters: quarters / 4),
    st.integers(0, 40).map(lambda quarters: quarters / 4),
)
lists = st.lists(readings, min_size=1, max_size=40, unique_by=lambda row: row[:2])


def bucket_of(level: ContinuousAggregate, time: datetime) -> datetime:
    local = time.astimezone(BERLIN)
    if level is HOURLY:
        # By the clock of UTC: an hour that the clock of Berlin repeats is two.
        return time.replace(minute=0, second=0, microsecond=0)
    local = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return (local if level is DAILY else local.replace(day=1)).astimezone(UTC)


def expected(level: ContinuousAggregate, rows: list[Row]) -> list[Summary]:
    groups: dict[tuple[int, datetime], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.station_id, bucket_of(level, row.taken_at)].append(row)
    return [
        Summary(
            station,
            bucket,
            min(row.celsius for row in group),
            max(row.celsius for row in group),
            sum(row.celsius for row in group),
            len(group),
            sum(row.rain for row in group),
        )
        for (station, bucket), group in sorted(groups.items())
    ]


async def stored(database: Database, level: ContinuousAggregate) -> list[Summary]:
    query = select(*level.c).order_by(level.c.station_id, level.c.bucket)
    async with database.read_only() as session:
        return await fetch_all(session, query, Summary)


@pytest.mark.standard("DL-TS-05")
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=lists, second=lists)
async def test_every_level_equals_the_same_computed_in_python(
    stations: Database, first: list[Row], second: list[Row]
) -> None:
    """After a load, and after corrections of some rows and late arrival of others."""
    async with stations.transaction() as session:
        await session.execute(text("DELETE FROM readings"))
        assert await copy_in(session, Reading, first) == len(first)
    for level in LEVELS:
        await refresh(stations, level)
        assert await stored(stations, level) == expected(level, first)
    done = await backfill(stations, Reading, second, key=["station_id", "taken_at"])
    rows = {row[:2]: row for row in [*first, *second]}
    assert done.rows.inserted == len(rows) - len(first)
    for level in LEVELS:
        assert await stored(stations, level) == expected(level, list(rows.values()))


@pytest.mark.standard("DL-TS-06")
async def test_a_backfill_refreshes_the_touched_buckets_and_no_others(
    stations: Database, weather: Project
) -> None:
    base = [Row(1, BEGIN + timedelta(hours=hour), 1.0, 0.0) for hour in range(24 * 60)]
    done = await backfill(stations, Reading, base, key=["station_id", "taken_at"])
    assert [len(windows) for windows in done.refreshed.values()] == [1, 1, 1]
    # A change behind the layer's back, between the two hours that the backfill will touch.
    with weather.connect() as connection:
        connection.execute(
            "UPDATE readings SET celsius = 99 WHERE taken_at = %s",
            [BEGIN + timedelta(days=20, hours=5)],
        )
    late = [
        Row(1, BEGIN + timedelta(days=10, minutes=30), 5.0, 0.0),
        Row(1, BEGIN + timedelta(days=30, minutes=30), 7.0, 0.0),
        Row(1, BEGIN + timedelta(days=30, minutes=30), 8.0, 0.0),
    ]
    done = await backfill(stations, Reading, late, key=["station_id", "taken_at"])
    assert (done.rows.inserted, done.rows.updated) == (2, 0)
    hours = [
        (row.taken_at.replace(minute=0), row.taken_at.replace(minute=0) + timedelta(hours=1))
        for row in late[:2]
    ]
    assert done.refreshed["weather_hourly"] == hours
    found = {row.bucket: row.warmest for row in await stored(stations, HOURLY)}
    assert [found[since] for since, _ in hours] == [5.0, 8.0]
    assert 99 not in found.values()
    again = await backfill(stations, Reading, late[1:], key=["station_id", "taken_at"])
    assert (again.rows.inserted, again.rows.unchanged) == (0, 1)


@pytest.mark.standard("DL-TS-09")
async def test_rows_older_than_the_retention_are_refused_and_nothing_is_written(
    stations: Database,
) -> None:
    now = datetime.now(UTC)
    rows = [Row(1, now - timedelta(days=days), 1.0, 0.0) for days in (5, 400)]
    with pytest.raises(TimescaleDBError, match="would erase what weather_hourly still holds"):
        await backfill(stations, Reading, rows, key=["station_id", "taken_at"])
    with pytest.raises(TimescaleDBError, match="drops what is older than 1 year"):
        await refresh(stations, HOURLY, since=now - timedelta(days=400))
    async with stations.read_only() as session:
        assert await session.scalar(select(func.count()).select_from(Reading)) == 0


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        (datetime(2026, 1, 1), None, "has no time zone"),  # noqa: DTZ001
        (None, datetime(2026, 1, 1), "has no time zone"),  # noqa: DTZ001
        (BEGIN, BEGIN - timedelta(days=1), "is not after its begin"),
    ],
)
async def test_odd_bounds_of_a_refresh_are_refused(
    stations: Database, since: datetime | None, until: datetime | None, words: str
) -> None:
    with pytest.raises(TimescaleDBError, match=rf"weather_hourly .*{words}"):
        await refresh(stations, HOURLY, since=since, until=until)


@pytest.fixture
async def columnar(stations: Database, weather: Project) -> AsyncIterator[list[Row]]:
    """Twenty chunks, all columnar, on a server that lets no statement make rows again of them."""
    base = [Row(1, BEGIN + timedelta(hours=6 * n), 1.0, 0.0) for n in range(80)]
    await backfill(stations, Reading, base, key=["station_id", "taken_at"])
    weather.query(
        "DO $$ DECLARE chunk regclass; BEGIN FOR chunk IN SELECT show_chunks('readings') LOOP"
        " CALL convert_to_columnstore(chunk); END LOOP; END $$"
    )
    assert {status for _, status in weather.query(CHUNKS)} == {1}
    [(database,)] = weather.query("SELECT current_database()")
    weather.query(f"ALTER DATABASE {database} SET {LIMIT} = 1")
    await stations.engine.dispose()
    yield base
    weather.query(f"ALTER DATABASE {database} RESET {LIMIT}")


@pytest.mark.standard("DL-TS-03")
@pytest.mark.standard("DL-TS-06")
@pytest.mark.parametrize("way", ["backfill", "upsert"])
async def test_the_columnar_chunks_that_are_not_written_to_are_left_alone(
    stations: Database, weather: Project, columnar: list[Row], way: str
) -> None:
    states = weather.query(CHUNKS)
    rows = [columnar[30]._replace(celsius=9.0), columnar[31], Row(2, columnar[31].taken_at, 3.0, 0)]
    if way == "backfill":
        done = (await backfill(stations, Reading, rows, key=["station_id", "taken_at"])).rows
    else:
        async with stations.transaction() as session:
            done = await upsert(session, Reading, rows, key=["station_id", "taken_at"])
    assert (done.inserted, done.updated, done.unchanged) == (1, 1, 1)
    touched = [old for old, new in zip(states, weather.query(CHUNKS), strict=True) if old != new]
    assert len(touched) == 1
    async with stations.read_only() as session:
        assert await session.scalar(select(func.sum(Reading.celsius))) == 80 + 8 + 3


@pytest.mark.standard("DL-TS-03")
async def test_a_statement_with_bounds_of_the_time_leaves_the_other_chunks_alone(
    stations: Database, weather: Project, columnar: list[Row]
) -> None:
    """Beyond the server's limit the layer says what to do."""
    states = weather.query(CHUNKS)
    day = BEGIN + timedelta(days=7)
    async with stations.transaction() as session:
        await session.execute(text(f"SET LOCAL {LIMIT} = 10"))
        within = Reading.taken_at.between(day, day + timedelta(hours=23))
        await session.execute(delete(Reading).where(within))
    changed = [old for old, new in zip(states, weather.query(CHUNKS), strict=True) if old != new]
    assert len(changed) <= 1

    async def everywhere() -> None:
        async with stations.transaction() as session:
            await session.execute(text(f"SET LOCAL {LIMIT} = 10"))
            await session.execute(update(Reading).where(Reading.celsius > 0).values(rain=2.0))

    with pytest.raises(LimitExceeded, match=r"\(tuple decompression limit .* bounds of the time"):
        await everywhere()
    async with stations.read_only() as reading:
        assert await reading.scalar(select(func.count()).select_from(Reading)) == 76


LIMIT = "timescaledb.max_tuples_decompressed_per_dml_transaction"
CHUNKS = """
    SELECT chunk_name,
        _timescaledb_functions.chunk_status(format('%I.%I', chunk_schema, chunk_name)::regclass)
    FROM timescaledb_information.chunks WHERE hypertable_name = 'readings' ORDER BY chunk_name
"""


@pytest.mark.standard("DL-TS-09")
async def test_a_backfill_into_time_that_was_dropped_is_refused(
    stations: Database, weather: Project
) -> None:
    """Also next to what is left, where its own rows bring a chunk back."""
    base = [Row(1, BEGIN + timedelta(hours=hour), 1.0, 0.0) for hour in range(0, 24 * 30, 6)]
    await backfill(stations, Reading, base, key=["station_id", "taken_at"])
    weather.query(f"SELECT drop_chunks('readings', timestamptz '{BEGIN + timedelta(days=10)}')")
    held = await stored(stations, HOURLY)
    for day in (5, 9):
        late = [Row(1, BEGIN + timedelta(days=day, minutes=1), 1.0, 0.0)]
        with pytest.raises(TimescaleDBError, match="readings has lost older rows: the refresh"):
            await backfill(stations, Reading, late, key=["station_id", "taken_at"])
        with pytest.raises(TimescaleDBError, match="would erase what weather_hourly still holds"):
            await refresh(stations, HOURLY, since=late[0].taken_at)
    await refresh(stations, HOURLY)
    assert await stored(stations, HOURLY) == held
    await backfill(
        stations,
        Reading,
        [Row(1, BEGIN + timedelta(days=10, minutes=1), 1.0, 0.0)],
        key=["station_id", "taken_at"],
    )
    assert len(await stored(stations, HOURLY)) == len(held)


async def test_gaps_are_filled_with_the_last_observation(stations: Database) -> None:
    begin = BEGIN.replace(hour=6)
    rows = [Row(1, begin, 4.0, 0.0), Row(1, begin + timedelta(hours=3), 7.0, 0.0)]
    await backfill(stations, Reading, iter(rows), key=["station_id", "taken_at"])

    @dataclass(frozen=True)
    class Filled:
        bucket: datetime
        warmest: float

    query = text(
        "SELECT time_bucket_gapfill('1 hour', bucket, 'Europe/Berlin', CAST(:since AS timestamptz),"
        " CAST(:until AS timestamptz)) AS bucket, locf(max(warmest)) AS warmest FROM weather_hourly"
        " WHERE station_id = :station AND bucket >= :since AND bucket < :until GROUP BY 1"
        " ORDER BY 1"
    )
    async with stations.read_only() as session:
        filled = await fetch_all(
            session, query, Filled, since=begin, until=begin + timedelta(hours=5), station=1
        )
    assert [row.warmest for row in filled] == [4.0, 4.0, 4.0, 7.0, 7.0]


async def test_progress_of_a_load_is_told(stations: Database) -> None:
    told: list[int] = []
    rows = (Row(1, BEGIN + timedelta(minutes=n), 1.0, 0.0) for n in range(20_000))
    async with stations.transaction() as session:
        await copy_in(session, Reading, rows, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 20_000
    async with stations.read_only() as session:
        assert await session.scalar(text("SELECT count(*) FROM readings")) == 20_000
