"""What the rendered fixtures leave of time series."""

import pytest

from my_project.data_layer.checklist import Verdict
from tests.data_layer.fixtures import empty_tables
from tests.layer.timescaledb.conftest import Project
from tests.layer.timescaledb.test_checks import look_at, verdicts

LEVELS = ("hourly", "daily", "monthly")


@pytest.mark.standard("DL-TS-09")
async def test_a_database_that_is_emptied_has_no_history(
    weather: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fill, empty, check: also what a columnstore holds, and what a source has lost."""
    look_at(weather, monkeypatch)
    for _ in range(2):
        weather.query("INSERT INTO stations (name) VALUES ('Brocken')")
        weather.query(
            "INSERT INTO readings SELECT 1, now() - n * interval '6 hours', 1, 1"
            " FROM generate_series(1, 400) AS n"
        )
        for level in LEVELS:
            weather.query(f"CALL refresh_continuous_aggregate('weather_{level}', NULL, NULL)")
        weather.query("SELECT drop_chunks('readings', INTERVAL '60 days')")
        empty_tables(weather.url)
        for level in LEVELS:
            assert weather.query(f"SELECT count(*) FROM weather_{level}") == [(0,)]
        assert weather.query("SELECT count(*) FROM show_chunks('weather_daily')") == [(0,)]
        assert {verdict for verdict, _ in (await verdicts()).values()} == {Verdict.PASSED}
