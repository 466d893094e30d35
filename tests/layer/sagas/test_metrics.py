"""`/metrics` of an application that declares sagas and topics."""

import asyncio
from pathlib import Path

import pytest
from httpx2 import ASGITransport, AsyncClient

from my_project.data_layer.database import Database, DatabaseSettings
from my_project.data_layer.http import create_api
from my_project.data_layer.sagas import publish

from . import bank
from .conftest import Bank
from .workers import eventually


@pytest.mark.usefixtures("database_in_environment")
async def test_sagas_and_messages_are_counted(
    desk: Bank, database: Database, database_settings: DatabaseSettings, tmp_path: Path
) -> None:
    await desk.start()
    async with database.transaction() as session:
        await publish(session, bank.lines, key="one", payload=[str(tmp_path), "1"])
    app = create_api("Desk", settings=database_settings)
    scraped: list[str] = []

    async def is_counted() -> bool:
        scraped[:] = (await client.get("/metrics")).text.splitlines()
        return any(line.startswith("outbox_messages{") for line in scraped)

    transport = ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=transport, base_url="http://desk") as client,
    ):
        await eventually(is_counted)
    assert 'sagas{name="tests.booking",status="active",version="1"} 1.0' in scraped
    assert 'outbox_messages{state="waiting",topic="tests.lines"} 1.0' in scraped
    assert 'outbox_messages{state="parked",topic="tests.lines"} 0.0' in scraped
    [late] = [line for line in scraped if line.startswith("sagas_late_seconds{")]
    assert float(late.rsplit(" ", 1)[1]) >= 0


@pytest.mark.usefixtures("database_in_environment")
async def test_an_application_that_ends_at_once_leaves_no_connection_half_open(
    database_settings: DatabaseSettings,
) -> None:
    """Whoever drops the database would wait until the server gives such a one up: a minute."""
    app = create_api("Desk", settings=database_settings)
    before = asyncio.all_tasks()
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0.06)  # it begins to count
    assert asyncio.all_tasks() == before
