"""What lives in TimescaleDB when the module is to be switched off."""

import pytest

from my_project.data_layer.timescaledb.remains import remains
from tests.layer.timescaledb.conftest import Project


async def test_what_lives_must_be_gone_before(
    weather: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = weather.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", address)

    living = await remains()

    assert all(left.lost for left in living)
    hypertables, aggregates, extension = (left.sentence for left in living)
    assert hypertables.startswith("The hypertables readings live: ")
    assert aggregates.startswith("The continuous aggregates weather_daily, ")
    assert extension.startswith("The database has the extension: ")
