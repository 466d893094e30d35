"""What `check` says of the time series, each finding shown to fail once."""

import re

import pytest

from my_project.data_layer.checklist import Verdict
from my_project.data_layer.devservers.postgresql import (
    EmbeddedServer,
)
from my_project.data_layer.timescaledb import checks
from tests.layer.timescaledb.conftest import WEATHER, Project
from tests.layer.timescaledb.weather import WeatherBase


@pytest.fixture
def looked_at(weather: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project of the weather stations, which is what the checks look at."""
    look_at(weather, monkeypatch)
    return weather


def look_at(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    address = project.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", address)
    monkeypatch.setenv("MIGRATION_URL", address)
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(checks, "Base", WeatherBase)


async def verdicts() -> dict[str, tuple[Verdict, str]]:
    found = {}
    for check in checks.timescaledb_checks():
        finding = await check.probe()
        found[check.id] = (finding.verdict, f"{finding.evidence} {finding.remedy}")
    return found


async def test_all_pass_after_the_upgrade(looked_at: Project) -> None:
    found = await verdicts()
    assert sorted(found) == [f"DL-TS-0{number}" for number in range(1, 10)]
    assert {verdict for verdict, _ in found.values()} == {Verdict.PASSED}, found


FAULTS = [
    pytest.param(
        "DL-TS-02",
        "SELECT set_chunk_time_interval('readings', INTERVAL '3 days')",
        "readings",
        marks=pytest.mark.standard("DL-TS-02"),
    ),
    pytest.param(
        "DL-TS-03",
        "CALL remove_columnstore_policy('weather_daily')",
        "weather_daily",
        marks=pytest.mark.standard("DL-TS-03"),
    ),
    pytest.param(
        "DL-TS-04",
        "SELECT remove_retention_policy('readings')",
        "readings",
        marks=pytest.mark.standard("DL-TS-04"),
    ),
    pytest.param(
        "DL-TS-05",
        "SELECT remove_continuous_aggregate_policy('weather_monthly')",
        "weather_monthly",
        marks=pytest.mark.standard("DL-TS-05"),
    ),
    pytest.param(
        "DL-TS-06",
        "INSERT INTO stations (name) VALUES ('Brocken'); INSERT INTO readings"
        " SELECT 1, now() - interval '10 days', 1, 1",
        "weather_hourly lacks the bucket",
        marks=pytest.mark.standard("DL-TS-06"),
    ),
    pytest.param(
        "DL-TS-09",
        "SELECT remove_continuous_aggregate_policy('weather_hourly');"
        " SELECT add_continuous_aggregate_policy('weather_hourly', start_offset => NULL,"
        " end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '1 hour')",
        "would erase the history of weather_hourly",
        marks=pytest.mark.standard("DL-TS-09"),
    ),
]


@pytest.mark.parametrize(("demand", "statement", "words"), FAULTS)
async def test_a_fault_is_found_and_what_is_advised_helps(
    looked_at: Project, demand: str, statement: str, words: str
) -> None:
    looked_at.query(statement)
    verdict, told = (await verdicts())[demand]
    assert verdict is Verdict.FAILED
    assert words in told
    if demand == "DL-TS-06":
        assert "refresh" in told
        for level in ("hourly", "daily", "monthly"):
            looked_at.query(f"CALL refresh_continuous_aggregate('weather_{level}', NULL, NULL)")
    else:
        assert re.search("autogenerate|migrate", told)
        await looked_at.autogenerate("put right")
        await looked_at.upgrade()
    assert {verdict for verdict, _ in (await verdicts()).values()} == {Verdict.PASSED}


@pytest.mark.standard("DL-TS-09")
async def test_a_window_that_reaches_rows_that_are_gone_is_told_and_put_right(
    looked_at: Project,
) -> None:
    """Dropped by hand, or by a shorter retention than the one of today."""
    looked_at.query("INSERT INTO stations (name) VALUES ('Brocken')")
    looked_at.query(
        "INSERT INTO readings SELECT 1, now() - n * interval '6 hours', 1, 1"
        " FROM generate_series(1, 400) AS n"
    )
    for level in ("hourly", "daily", "monthly"):
        looked_at.query(f"CALL refresh_continuous_aggregate('weather_{level}', NULL, NULL)")
    assert (await verdicts())["DL-TS-09"][0] is Verdict.PASSED
    looked_at.query("SELECT drop_chunks('readings', INTERVAL '60 days')")
    verdict, told = (await verdicts())["DL-TS-09"]
    assert verdict is Verdict.FAILED
    assert "The next refresh of weather_hourly would erase its history: readings has lost" in told
    before = looked_at.query("SELECT count(*) FROM weather_hourly")
    text = await looked_at.autogenerate("put right")
    assert "set_refresh_policy('weather_hourly', start_offset='60 days'" in text
    await looked_at.upgrade()
    assert {verdict for verdict, _ in (await verdicts()).values()} == {Verdict.PASSED}
    [(job,)] = looked_at.query(
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE hypertable_name = 'weather_hourly' AND config ? 'mat_hypertable_id'"
    )
    looked_at.query(f"CALL run_job({job})")
    assert looked_at.query("SELECT count(*) FROM weather_hourly") == before


@pytest.mark.standard("DL-TS-07")
async def test_a_paused_job_is_told(looked_at: Project) -> None:
    """One that failed is in test_native: what the scheduler keeps of it not every engine has."""
    [(job,)] = looked_at.query(
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name = 'readings'"
        " AND config ? 'drop_after'"
    )
    looked_at.query(f"SELECT alter_job({job}, scheduled => false)")
    verdict, told = (await verdicts())["DL-TS-07"]
    assert verdict is Verdict.FAILED
    assert f"Job {job} (policy_retention) of readings is paused." in told
    looked_at.query(f"SELECT alter_job({job}, scheduled => true)")
    assert (await verdicts())["DL-TS-07"][0] is Verdict.PASSED


@pytest.mark.standard("DL-TS-06")
async def test_the_last_hours_of_a_long_month_lack_no_bucket(looked_at: Project) -> None:
    """In UTC a month of Berlin ends on another day than it begins on."""
    looked_at.query("INSERT INTO stations (name) VALUES ('Brocken')")
    looked_at.query(
        "INSERT INTO readings SELECT 1, at, 1, 1 FROM generate_series("
        "timestamptz '2026-02-01 12:00 Europe/Berlin', '2026-03-31 22:00 Europe/Berlin', '1 day')"
        " AS at UNION ALL SELECT 1, '2026-03-31 22:30 Europe/Berlin', 1, 1"
    )
    for level in ("hourly", "daily", "monthly"):
        looked_at.query(f"CALL refresh_continuous_aggregate('weather_{level}', NULL, NULL)")
    assert (await verdicts())["DL-TS-06"][0] is Verdict.PASSED


@pytest.mark.standard("DL-TS-01")
async def test_a_database_without_the_extension_fails(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.models(WEATHER)
    look_at(project, monkeypatch)
    verdict, told = (await verdicts())["DL-TS-01"]
    assert verdict is Verdict.FAILED
    assert "has no extension timescaledb; run `uv run alembic upgrade head`" in told


@pytest.mark.standard("DL-TS-01")
async def test_a_server_that_can_have_no_extension_is_told_before_anybody_migrates(
    own_server: EmbeddedServer, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.models(WEATHER)
    project.url = own_server.url
    look_at(project, monkeypatch)
    verdict, told = (await verdicts())["DL-TS-01"]
    assert verdict is Verdict.FAILED
    assert "has no TimescaleDB; start" in told
    assert "alembic upgrade" not in told


@pytest.mark.standard("DL-TS-08")
async def test_poor_compression_is_advised_against(
    looked_at: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "WORTH_JUDGING", 0)
    monkeypatch.setattr(checks, "POOR_RATIO", 1000)
    looked_at.query("INSERT INTO stations (name) VALUES ('Brocken')")
    looked_at.query(
        "INSERT INTO readings SELECT 1, now() - n * interval '1 minute', n, 1"
        " FROM generate_series(20000, 40000) AS n"
    )
    looked_at.query(
        "DO $$ DECLARE chunk regclass; BEGIN FOR chunk IN SELECT show_chunks('readings') LOOP"
        " CALL convert_to_columnstore(chunk); END LOOP; END $$"
    )
    verdict, told = (await verdicts())["DL-TS-08"]
    assert verdict is Verdict.ADVICE
    assert "segment it by other columns" in told
