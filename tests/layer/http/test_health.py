import asyncio
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from httpx2 import AsyncClient, HTTPError
from pydantic import SecretStr

import my_project
from my_project.data_layer import wiring
from my_project.data_layer.database import DatabaseSettings, NotFound
from my_project.data_layer.devservers.postgresql import EmbeddedServer
from my_project.data_layer.errors import DataLayerError
from my_project.data_layer.http import Readiness, create_api, install
from tests.layer import PATIENCE
from tests.layer.servers import free_port, kill

from .conftest import served


def settings(port: int, **others: Any) -> DatabaseSettings:
    url = f"postgresql://desk:hunter2@127.0.0.1:{port}/desk"
    return DatabaseSettings(_env_file=None, url=SecretStr(url), **others)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nothing listens, and nothing else comes to listen during the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@asynccontextmanager
async def deaf_port() -> AsyncIterator[int]:
    """A port that takes connections and never says a word, like a server that hangs."""
    hang_up = asyncio.Event()

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hang_up.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        hang_up.set()


async def test_live_asks_nobody(closed_port: int) -> None:
    async with served(create_api("test", settings=settings(closed_port))) as client:
        response = await client.get("/health/live")
    assert response.status_code == 200
    assert response.json() == {"alive": True}


async def test_ready_with_a_database(client: AsyncClient) -> None:
    response = await client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {"dependencies": {"postgresql": True}}


async def test_ready_tells_strangers_what_is_down_and_the_log_why(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(create_api("test", settings=settings(closed_port))) as client:
        response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "1"
    assert "postgresql" in response.json()["detail"]
    assert response.json()["dependencies"] == {"postgresql": False}
    for told in ("127.0.0.1", "localhost", str(closed_port), "desk", "refused", "psycopg"):
        assert told not in response.text
    assert f"127.0.0.1:{closed_port}" in caplog.text
    assert "hunter2" not in response.text + caplog.text


async def test_ready_is_answered_in_bounded_time_by_a_server_that_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with deaf_port() as port:
        app = create_api("test", settings=settings(port, connect_timeout=300))
        # Far less than a connection is waited for, and twice that is far more than a probe takes.
        async with served(app) as client, asyncio.timeout(120):
            for _ in range(2):
                response = await client.get("/health/ready")
                assert response.status_code == 503
    assert response.json()["dependencies"] == {"postgresql": False}
    assert "did not answer" in caplog.text


async def test_probes_are_asked_at_once() -> None:
    everybody = asyncio.Barrier(5)
    readiness = Readiness(
        {f"number {number}": everybody.wait for number in range(5)}, timeout=PATIENCE
    )
    health = await readiness.health()
    assert list(health.dependencies.values()) == [True] * 5


async def test_a_probe_that_ignores_its_end_is_not_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = 0
    release = asyncio.Event()

    async def stubborn() -> None:
        nonlocal started
        started += 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    readiness = Readiness({"stubborn": stubborn}, timeout=0.05)
    for _ in range(3):
        assert not (await readiness.health()).dependencies["stubborn"]
    assert caplog.text.count("stubborn did not answer within 0.05 seconds.") == 3
    assert started == 1
    release.set()
    await readiness.close()
    assert (await readiness.health()).dependencies["stubborn"]
    assert started == 2


async def test_many_requests_share_one_probe() -> None:
    started = 0

    async def counted() -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(0.1)

    readiness = Readiness({"counted": counted}, timeout=PATIENCE)
    answers = await asyncio.gather(*(readiness.health() for _ in range(50)))
    assert all(health.dependencies["counted"] for health in answers)
    assert started == 1


async def test_an_error_of_the_layer_is_logged_and_of_any_other_its_type(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def told() -> None:
        raise DataLayerError("It is full; empty it.")

    async def untold() -> None:
        raise ValueError("hunter2")

    health = await Readiness({"told": told, "untold": untold}).health()
    assert health.dependencies == {"told": False, "untold": False}
    assert "It is full; empty it." in caplog.text
    assert "The probe of untold failed with ValueError." in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_module_adds_its_probe_by_the_wiring(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    async def broken() -> None:
        raise DataLayerError("The cache is down; start it.")

    @asynccontextmanager
    async def resources(_state: object) -> AsyncIterator[dict[str, Any]]:
        events.append("opened")
        yield {"cache": broken}
        events.append("closed")

    monkeypatch.setattr(wiring, "resources", resources)
    async with served(app) as client:
        response = await client.get("/health/ready")
        assert events == ["opened"]
    assert events == ["opened", "closed"]
    assert response.status_code == 503
    assert response.json()["dependencies"] == {"postgresql": True, "cache": False}


async def test_requests_succeed_again_when_the_database_is_back(
    own_server: EmbeddedServer,
) -> None:
    url = SecretStr(own_server.url.render_as_string(hide_password=False))
    own_server.stop()
    app = create_api("test", settings=DatabaseSettings(_env_file=None, url=url))
    async with served(app) as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
        own_server.start()
        assert (await client.get("/health/ready")).status_code == 200
        kill(own_server)
        assert (await client.get("/health/ready")).status_code == 503
        own_server.start()
        assert (await client.get("/health/ready")).status_code == 200


@contextmanager
def uvicorn(folder: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The application as a server runs it, in a process of its own."""
    package = Path(my_project.__file__).parent
    (folder / "serving.py").write_text(
        textwrap.dedent(
            f"""
            from {package.name}.data_layer.http import create_api

            def create_app():
                return create_api("test")
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "serving:create_app", "--factory", f"--port={port}"],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if "DATABASE" not in name},
            "PYTHONPATH": f"{folder}{os.pathsep}{package.parent}",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "mysql://desk:hunter2@localhost/desk"}, "DATABASE_URL"),
        (
            {"DATABASE_URL": "postgresql://desk@localhost/desk", "DATABASE_POOL_SIZE": "many"},
            "DATABASE_POOL_SIZE",
        ),
    ],
    ids=["missing", "another database", "not a number"],
)
def test_a_wrong_setting_ends_the_server_with_one_sentence(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    with uvicorn(tmp_path, free_port(), **environment) as process:
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert said in stderr
    assert "Traceback" not in stderr
    assert "hunter2" not in stderr
    assert len(stderr.strip().splitlines()) == 1


async def test_a_server_starts_without_its_database_and_stops_cleanly(
    tmp_path: Path, closed_port: int
) -> None:
    port = free_port()
    url = f"postgresql://desk:hunter2@127.0.0.1:{closed_port}/desk"
    with uvicorn(tmp_path, port, DATABASE_URL=url) as process:
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        live = await client.get("/health/live")
                        break
                    except HTTPError:
                        await asyncio.sleep(0.1)
            ready = await client.get("/health/ready")
        process.terminate()
        _, stderr = process.communicate(timeout=PATIENCE)
    assert live.status_code == 200
    assert ready.status_code == 503
    assert "Traceback" not in stderr
    assert "hunter2" not in stderr


async def test_an_application_that_exists_gets_the_layer_by_one_call(
    database_settings: DatabaseSettings,
) -> None:
    """Its lifespan runs within the database's, and what it says of errors afterwards wins."""
    order: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        async with app.state.database.read_only():
            order.append("opened")
        yield {"theirs": "state"}
        async with app.state.database.read_only():
            order.append("closed")

    app = FastAPI(lifespan=lifespan)

    @app.get("/rows/{key}")
    async def read(key: int) -> None:
        raise NotFound("row", key)

    install(app, settings=database_settings)

    @app.exception_handler(KeyError)
    async def theirs(request: Request, error: KeyError) -> Response:
        return Response("theirs", status_code=418)

    @app.get("/theirs")
    async def fail() -> None:
        raise KeyError

    async with served(app) as client:
        assert order == ["opened"]
        assert (await client.get("/health/ready")).json() == {"dependencies": {"postgresql": True}}
        missing = await client.get("/rows/7")
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "application/problem+json"
        assert (await client.get("/theirs")).status_code == 418
        assert "/rows/{key}" in (await client.get("/metrics")).text
    assert order == ["opened", "closed"]
    async with app.router.lifespan_context(app) as state:
        assert state == {"theirs": "state"}
