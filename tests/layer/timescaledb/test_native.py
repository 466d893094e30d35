"""What only a native TimescaleDB can show: the scheduler, changes at once, timeouts."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from my_project.data_layer.checklist import Verdict
from my_project.data_layer.database import Database, copy_in
from my_project.data_layer.timescaledb import backfill, checks, refresh
from tests.data_layer.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.timescaledb.conftest import Project
from tests.layer.timescaledb.weather import DAILY, HOURLY, Reading

pytestmark = pytest.mark.native

BEGIN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=30)
KEY = ["station_id", "taken_at"]


def rows(count: int, *, first: int = 0) -> list[tuple[int, datetime, float, float]]:
    return [
        (1, BEGIN + timedelta(minutes=minute), 1.0, 0.5) for minute in range(first, first + count)
    ]


@pytest.mark.standard("DL-TS-07")
async def test_the_scheduler_runs_the_policies(stations: Database, weather: Project) -> None:
    async with stations.transaction() as session:
        await copy_in(session, Reading, rows(600))
    weather.query("ALTER MATERIALIZED VIEW weather_hourly SET (timescaledb.materialized_only)")
    weather.query("SELECT _timescaledb_functions.start_background_workers()")
    weather.query(
        "SELECT alter_job(job_id, next_start => now()) FROM timescaledb_information.jobs"
        " WHERE hypertable_name = 'weather_hourly' AND config ? 'mat_hypertable_id'"
    )
    await until(weather, "SELECT count(*) FROM weather_hourly", (10,))
    await until(
        weather,
        "SELECT last_run_status FROM timescaledb_information.job_stats"
        " JOIN timescaledb_information.jobs USING (job_id)"
        " WHERE jobs.hypertable_name = 'weather_hourly' AND config ? 'mat_hypertable_id'",
        ("Success",),
    )


async def until(project: Project, question: str, answer: tuple[object, ...]) -> None:
    deadline = time.monotonic() + PATIENCE
    while project.query(question) != [answer]:
        assert time.monotonic() < deadline, f"This is not {answer}: {question}"
        await asyncio.sleep(0.5)


@pytest.mark.standard("DL-TS-06")
async def test_backfills_at_once_lose_nothing(stations: Database) -> None:
    parts = [rows(120, first=120 * number) for number in range(6)]
    await asyncio.gather(*(backfill(stations, Reading, part, key=KEY) for part in parts))
    async with stations.read_only() as session:
        for level in (HOURLY, DAILY):
            found = await session.scalar(select(text("sum(readings)")).select_from(level.table))
            assert found == 720


@pytest.mark.standard("DL-TS-06")
async def test_a_refresh_has_no_statement_timeout_and_gives_it_back(
    stations: Database, weather: Project
) -> None:
    async with stations.transaction() as session:
        await copy_in(session, Reading, rows(60))
    hurried = settings_of(weather.url).model_copy(
        update={"statement_timeout": 1, "lock_timeout": 60, "pool_size": 1, "max_overflow": 0}
    )
    [(stored,)] = weather.query(
        "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
        " FROM timescaledb_information.continuous_aggregates WHERE view_name = 'weather_hourly'"
    )
    async with Database.open(hurried) as database:
        with weather.connect() as other, other.transaction():
            other.execute(f"LOCK TABLE {stored} IN EXCLUSIVE MODE".encode())
            waiting = asyncio.create_task(refresh(database, HOURLY))
            await asyncio.sleep(2.5)
            assert not waiting.done()
        await waiting
        async with database.read_only() as session:
            assert await session.scalar(text("SHOW statement_timeout")) == "1s"
            assert await session.scalar(text("SELECT sum(readings) FROM weather_hourly")) == 60


FAILING = """
    readings = Table(
        "readings",
        metadata,
        Column("at", DateTime(timezone=True), nullable=False),
        Column("value", BigInteger),
        Hypertable("at", retention=KEEP),
    )
    hour = time_bucket("1 hour", readings.c.at)
    ContinuousAggregate(
        "inverse",
        select(hour.label("bucket"), func.sum(1 / readings.c.value).label("n")).group_by(hour),
    )
"""


@pytest.mark.standard("DL-TS-07")
async def test_a_job_that_fails_is_told_by_the_check(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.models(FAILING)
    await project.autogenerate()
    await project.upgrade()
    address = project.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", address)
    monkeypatch.setenv("MIGRATION_URL", address)
    monkeypatch.chdir(project.folder)
    survey = {check.id: check for check in checks.timescaledb_checks()}
    assert (await survey["DL-TS-07"].probe()).verdict is Verdict.PASSED
    project.query("INSERT INTO readings VALUES (now() - interval '3 days', 0)")
    [(job,)] = project.query(
        "SELECT job_id FROM timescaledb_information.jobs WHERE config ? 'mat_hypertable_id'"
    )
    project.query("SELECT _timescaledb_functions.start_background_workers()")
    project.query(f"SELECT alter_job({job}, next_start => now())")
    await until(
        project,
        "SELECT last_run_status FROM timescaledb_information.job_stats"
        " JOIN timescaledb_information.jobs USING (job_id) WHERE config ? 'mat_hypertable_id'",
        ("Failed",),
    )
    survey = {check.id: check for check in checks.timescaledb_checks()}
    finding = await survey["DL-TS-07"].probe()
    assert finding.verdict is Verdict.FAILED
    assert f"Job {job} (policy_refresh_continuous_aggregate) of inverse failed last" in (
        finding.evidence
    )
    assert "division by zero" in finding.evidence

    project.query(f"SELECT alter_job({job}, scheduled => false)")
    project.query("DELETE FROM _timescaledb_internal.bgw_job_stat")
    survey = {check.id: check for check in checks.timescaledb_checks()}
    finding = await survey["DL-TS-07"].probe()
    assert f"Job {job} (policy_refresh_continuous_aggregate) of inverse is paused" in (
        finding.evidence
    )
