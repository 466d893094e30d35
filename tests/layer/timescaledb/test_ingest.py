"""Backfills of tables that are not like the weather's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from psycopg.errors import UniqueViolation
from psycopg.pq import DiagnosticField
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Identity,
    MetaData,
    Table,
    func,
    select,
)

from my_project.data_layer.database import NAMING_CONVENTION, Database, Violation, copy_in
from my_project.data_layer.database.errors import violation_of
from my_project.data_layer.timescaledb import (
    KEEP,
    ContinuousAggregate,
    Hypertable,
    TimescaleDBError,
    backfill,
    time_bucket,
)
from tests.data_layer.fixtures import settings_of
from tests.layer.timescaledb.conftest import Project

metadata = MetaData(naming_convention=NAMING_CONVENTION)

TICKS = Table(
    "ticks",
    metadata,
    Column("number", BigInteger, Identity(always=True)),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("value", BigInteger),
    Hypertable("at", retention=KEEP),
)
_seconds = time_bucket("10 seconds", TICKS.c["at"])
BY_SECONDS = ContinuousAggregate(
    "ticks_by_ten_seconds",
    select(_seconds.label("bucket"), func.sum(TICKS.c["value"]).label("sum")).group_by(_seconds),
)

DAYS = Table(
    "days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("value", BigInteger),
    Hypertable("day", retention=KEEP),
)
_week = time_bucket("1 week", DAYS.c["day"])
BY_WEEK = ContinuousAggregate(
    "days_by_week",
    select(_week.label("bucket"), func.sum(DAYS.c["value"]).label("sum")).group_by(_week),
)

BEGIN = datetime(2026, 1, 5, 12, 30, tzinfo=UTC)


MODELS = "from tests.layer.timescaledb.test_ingest import metadata as own\nmetadata = own"


@pytest.fixture
async def project(migrated_project: Callable[[str], Awaitable[Project]]) -> Project:
    return await migrated_project(MODELS)


@pytest.fixture
async def database(project: Project) -> AsyncIterator[Database]:
    """For sessions whose day begins at another hour than that of UTC."""
    url = project.url.update_query_dict({"options": "-c timezone=America/New_York"})
    async with Database.open(settings_of(url)) as database:
        yield database


@pytest.mark.standard("DL-TS-06")
async def test_buckets_of_seconds_are_refreshed_where_rows_came(
    database: Database, project: Project
) -> None:
    """The rows leave out the number that comes before the time, which the server gives."""
    rows = [(BEGIN + timedelta(seconds=second), second) for second in (0, 25, 59)]
    done = await backfill(database, TICKS, rows, key=["at"])
    assert [since.second for since, _ in done.refreshed["ticks_by_ten_seconds"]] == [0, 20, 50]
    assert project.query("SELECT sum::int FROM ticks_by_ten_seconds ORDER BY bucket") == [
        (0,),
        (25,),
        (59,),
    ]


@pytest.mark.standard("DL-TS-06")
async def test_dates_are_the_same_days_in_every_time_zone(
    database: Database, project: Project
) -> None:
    await backfill(database, DAYS, [{"day": date(2026, 1, 5), "value": 3}], key=["day"])
    assert project.query("SELECT bucket, sum::int FROM days_by_week") == [(date(2026, 1, 5), 3)]


async def test_errors_name_no_chunk(database: Database) -> None:
    rows = [{"day": date(2026, 1, 5), "value": 3}]
    await backfill(database, DAYS, rows, key=["day"])
    with pytest.raises(Violation, match=r"^Another row has these values already; pk_days allows"):
        async with database.transaction() as session:
            await session.execute(DAYS.insert(), rows)
    with pytest.raises(
        Violation, match=r"rows for days: Another row has .* pk_days allows"
    ) as told:
        async with database.transaction() as session:
            await copy_in(session, DAYS, rows)
    assert (told.value.table, told.value.constraint) == (None, "pk_days")


@pytest.mark.parametrize("name", ["5_pk_days", "5_7_pk_days", "pk_days"])
def test_a_constraint_has_its_own_name_in_every_version(name: str) -> None:
    """A chunk's copy of it has the chunk's number before it, and formerly one of its own."""
    fields: dict[int, bytes | None] = {
        DiagnosticField.TABLE_NAME: b"_hyper_1_5_chunk",
        DiagnosticField.CONSTRAINT_NAME: name.encode(),
    }
    violation = violation_of(UniqueViolation("told by the server", info=fields))
    assert violation
    assert violation.constraint == "pk_days"


async def test_rows_without_a_time_are_refused(database: Database) -> None:
    with pytest.raises(TimescaleDBError, match="lack at, by which it is partitioned"):
        await backfill(database, TICKS, [(1,)], key=["at"], columns=["value"])
