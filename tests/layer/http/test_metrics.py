import asyncio
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from httpx2 import AsyncClient

import my_project
from my_project.data_layer.database import DatabaseSettings
from my_project.data_layer.http import DatabaseDependency, create_api
from tests.layer import PATIENCE
from tests.layer.servers import free_port

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

    templates = ["/api/inner/{key}", "/old/inner/{key}", "/mounted/{key}"]
    for prefix in ("/api", "/old"):
        app.include_router(router, prefix=prefix)
    app.mount("/mounted", mounted)
    async with served(app) as client:
        for key in range(3):
            for template in templates:
                assert (await client.get(template.format(key=key))).status_code == 200
        samples = await metrics(client)
    counted = 'http_requests_total{{handler="{}",method="GET",status="200"}}'
    assert [samples[counted.format(template)] for template in templates] == [3, 3, 3]


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


@contextmanager
def workers(folder: Path, database_url: str, **environment: str) -> Iterator[str]:
    """Two workers of uvicorn with the application; yields the URL when both of them serve."""
    package = Path(my_project.__file__).parent
    (folder / "serving.py").write_text(
        textwrap.dedent(
            f"""
            import os
            from {package.name}.data_layer.http import create_api

            def create_app():
                app = create_api("test")

                @app.get("/who")
                async def who() -> int:
                    return os.getpid()

                return app
            """
        )
    )
    port = free_port()
    command = ["uvicorn", "serving:create_app", "--factory", f"--port={port}", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{folder}{os.pathsep}{package.parent}",
            "DATABASE_URL": database_url,
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        started = 0
        while started < 2:
            line = process.stderr.readline()
            assert line
            started += "Application startup complete" in line
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


async def test_each_of_several_workers_tells_the_requests_of_all(
    tmp_path: Path, database_settings: DatabaseSettings
) -> None:
    counts = tmp_path / "counts"
    counts.mkdir()
    url = database_settings.url.get_secret_value()
    asked: Counter[int] = Counter()
    told = set()
    with workers(tmp_path, url, PROMETHEUS_MULTIPROC_DIR=str(counts)) as base:
        # A connection stays with its worker, so each request makes one of its own.
        async with asyncio.timeout(PATIENCE):
            while len(asked) < 2 or sum(asked.values()) < 20:
                async with AsyncClient(base_url=base) as client:
                    asked[(await client.get("/who")).json()] += 1
        for _ in range(20):
            async with AsyncClient(base_url=base) as client:
                samples = await metrics(client)
            told.add(samples['http_requests_total{handler="/who",method="GET",status="200"}'])
            assert not any(name.startswith(("database_pool", "process_")) for name in samples)
    assert told == {sum(asked.values())}


async def test_several_workers_without_a_folder_for_their_counts_are_refused(
    tmp_path: Path, database_settings: DatabaseSettings
) -> None:
    with workers(tmp_path, database_settings.url.get_secret_value()) as base:
        async with AsyncClient(base_url=base) as client:
            response = await client.get("/metrics")
    assert response.status_code == 503
    assert "set PROMETHEUS_MULTIPROC_DIR" in response.json()["detail"]


@pytest.mark.parametrize(
    ("arguments", "concurrency", "several"),
    [
        (["app:app", "--workers", "4"], "", True),
        (["app:app", "--workers=4"], "1", True),
        (["-w", "4", "app:app"], "", True),
        (["-w4", "app:app"], "", True),
        (["app:app"], "2", True),
        (["app:app"], "1", False),
        (["app:app"], "", False),
        (["app:app", "--workers", "1"], "4", False),
        (["app:app", "--ws-workers-4"], "", False),
    ],
)
async def test_the_command_says_how_many_workers_there_are(
    client: AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    concurrency: str,
    several: bool,
) -> None:
    monkeypatch.setattr(sys, "argv", ["uvicorn", *arguments])
    monkeypatch.setenv("WEB_CONCURRENCY", concurrency)

    assert (await client.get("/metrics")).status_code == (503 if several else 200)


def test_a_folder_for_the_counts_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_settings: DatabaseSettings
) -> None:
    for folder in ("", str(tmp_path / "nowhere")):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", folder)
        with pytest.raises(SystemExit, match=r"PROMETHEUS_MULTIPROC_DIR names .* is no folder"):
            create_api("test", settings=database_settings)
