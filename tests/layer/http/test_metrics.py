import asyncio
import re

from fastapi import APIRouter, FastAPI
from httpx2 import AsyncClient

from my_project.data_layer.database import DatabaseSettings
from my_project.data_layer.http import DatabaseDependency, create_api
from tests.layer import PATIENCE

from .conftest import Note, served


async def metrics(client: AsyncClient) -> dict[str, float]:
    """The samples of one scrape, by name and labels."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def handlers(samples: dict[str, float]) -> set[str]:
    return {found[1] for name in samples if (found := re.search(r'handler="([^"]*)"', name))}


async def test_requests_are_counted_by_route_not_by_path(client: AsyncClient, note: Note) -> None:
    for number in range(20):
        await client.get(f"/notes/{note.id}")
        await client.get(f"/nowhere/{number}")
        await client.get(f"/notes/{note.id}/")
    samples = await metrics(client)
    counted = 'http_requests_total{handler="/notes/{key}",method="GET",status="200"}'
    assert samples[counted] == 20
    assert samples['http_requests_total{handler="none",method="GET",status="404"}'] == 40
    measured = 'http_request_duration_seconds_count{handler="/notes/{key}",method="GET"}'
    assert samples[measured] == 20
    assert handlers(samples) == {"/notes/{key}", "none"}


async def test_a_made_up_method_makes_no_series_of_its_own(client: AsyncClient) -> None:
    for number in range(20):
        await client.request(f"MADE{number}", "/notes/1")
    samples = await metrics(client)
    methods = {found[1] for name in samples if (found := re.search(r'method="([^"]*)"', name))}
    assert methods == {"other"}


async def test_the_monitoring_does_not_count_itself(client: AsyncClient) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        await client.get(path)
    assert handlers(await metrics(client)) == set()


async def test_an_unexpected_error_is_counted(app: FastAPI) -> None:
    @app.get("/raises")
    async def raises() -> None:
        raise RuntimeError

    async with served(app, raise_errors=False) as client:
        await client.get("/raises")
        samples = await metrics(client)
    assert samples['http_requests_total{handler="/raises",method="GET",status="500"}'] == 1


async def test_included_and_mounted_routes_are_counted_by_their_whole_path(app: FastAPI) -> None:
    router = APIRouter(prefix="/inner")
    mounted = FastAPI()
    for routes in (router, mounted):

        @routes.get("/{key}")
        async def read(key: str) -> str:
            return key

    app.include_router(router, prefix="/api")
    app.mount("/mounted", mounted)
    async with served(app) as client:
        for path in ("/api/inner/1", "/mounted/2"):
            assert (await client.get(path)).status_code == 200
        assert handlers(await metrics(client)) == {"/api/inner/{key}", "/mounted/{key}"}


async def test_the_pool_is_measured_while_it_is_used(app: FastAPI) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @app.get("/holds")
    async def holds(database: DatabaseDependency) -> None:
        async with database.transaction():
            entered.set()
            await leave.wait()

    async with served(app) as client:
        before = await metrics(client)
        holding = asyncio.ensure_future(client.get("/holds"))
        await asyncio.wait_for(entered.wait(), timeout=PATIENCE)
        during = await metrics(client)
        leave.set()
        assert (await holding).status_code == 200
        after = await metrics(client)
    gauges = ("checked_out", "idle", "overflow", "size")
    states = [[state[f"database_pool_{name}"] for name in gauges] for state in (before, during)]
    assert states == [[0, 0, 0, 5], [1, 0, 0, 5]]
    assert [after[f"database_pool_{name}"] for name in gauges] == [0, 1, 0, 5]


async def test_two_applications_in_one_process_count_apart(
    database_settings: DatabaseSettings,
) -> None:
    apps = [create_api("test", settings=database_settings) for _ in range(2)]
    async with served(apps[0]) as first, served(apps[1]) as second:
        await first.get("/nowhere")
        assert handlers(await metrics(first)) == {"none"}
        assert handlers(await metrics(second)) == set()
