"""Server-sent events, over a real server and real connections."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import fastapi.routing
import pytest
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

from my_project.data_layer.database import DatabaseSettings
from my_project.data_layer.devservers.postgresql import free_port
from my_project.data_layer.redis import RedisSettings
from my_project.data_layer.redis.http import events, subscription_to
from my_project.data_layer.redis.live import Live, Subscription
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer

from .conftest import problem, served


def routes(app: FastAPI) -> None:
    @app.get("/prices", response_class=EventSourceResponse)
    async def prices(
        subscription: Annotated[Subscription, Depends(subscription_to("prices"))],
    ) -> AsyncIterator[ServerSentEvent]:
        async for event in events(subscription):
            yield event


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine holds up for a moment is no lost connection."""
    monkeypatch.setattr("my_project.data_layer.redis.listening.HEARTBEAT", 20.0)


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[tuple[Live, int]]:
    """The app behind uvicorn on a port of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        # Not `serve`, which would take the signals of the test run.
        running = asyncio.create_task(server._serve([listener]))
        try:
            async with asyncio.timeout(PATIENCE):
                while not server.started:
                    await asyncio.sleep(0.01)
            yield app.state.live, listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


class Client:
    """Reads a stream of events off a bare connection, which it may drop at any time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.headers = ""

    @classmethod
    async def connect(cls, port: int, last: str | None = None) -> "Client":
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        client.writer.write(f"GET /prices HTTP/1.1\r\nHost: desk\r\n{resume}\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            client.headers = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
        return client

    async def chunk(self) -> str:
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2)).decode()

    async def event(self) -> dict[str, str]:
        while True:
            lines = (await self.chunk()).splitlines()
            fields = dict(line.split(": ", 1) for line in lines if line and line[0] != ":")
            if fields:
                return fields

    def vanish(self) -> None:
        """Without a goodbye."""
        self.writer.transport.abort()


@pytest.mark.standard("DL-RD-25")
async def test_events_arrive_and_are_resumed(app: FastAPI) -> None:
    routes(app)
    async with listening(app) as (live, port):
        client = await Client.connect(port)
        assert "content-type: text/event-stream" in client.headers
        assert "cache-control: no-cache" in client.headers
        await live.publish("prices", {"AAPL": "430.47", "text": "two\nlines: é"})
        event = await client.event()
        assert json.loads(event["data"]) == {"AAPL": "430.47", "text": "two\nlines: é"}
        client.vanish()
        for number in range(3):
            await live.publish("prices", number)
        again = await Client.connect(port, last=event["id"])
        assert [(await again.event())["data"] for _ in range(3)] == ["0", "1", "2"]
        lost = await Client.connect(port, last="1-1")
        assert (await lost.event())["event"] == "missed"
        again.vanish()
        lost.vanish()


async def test_a_quiet_stream_has_a_heartbeat(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.1)
    routes(app)
    async with listening(app) as (_, port):
        client = await Client.connect(port)
        assert (await client.chunk()).startswith(":")
        client.vanish()


@pytest.mark.standard("DL-RD-25")
async def test_two_hundred_clients_connect_and_vanish(app: FastAPI) -> None:
    routes(app)
    async with listening(app) as (live, port):
        # The cache may begin to listen just now, with two tasks.
        resting = len(asyncio.all_tasks()) + 2
        clients = await asyncio.gather(*(Client.connect(port) for _ in range(200)))
        assert live.clients == 200
        ((_, subscriptions),) = await live.store.client.pubsub_numsub(live.key("prices"))
        assert subscriptions == 1
        await live.publish("prices", "hello")
        for event in await asyncio.gather(*(client.event() for client in clients)):
            assert event["data"] == '"hello"'
        for client in clients:
            client.vanish()
        async with asyncio.timeout(PATIENCE):
            while live.clients:
                await asyncio.sleep(0.02)
            while len(asyncio.all_tasks()) > resting or subscriptions:
                await asyncio.sleep(0.02)
                counted = await live.store.client.pubsub_numsub(live.key("prices"))
                ((_, subscriptions),) = counted


async def test_redis_down_is_an_answer_and_no_broken_stream(
    own_app: FastAPI, own_redis: OwnServer
) -> None:
    routes(own_app)
    async with served(own_app) as client:
        own_redis.kill()
        body = problem(await client.get("/prices"), 503)
        assert body["detail"] == "Live messages can't be followed now; try again."


SERVING = """
from typing import Annotated

from fastapi import Depends
from fastapi.sse import EventSourceResponse

from my_project.app import create_app as project
from my_project.data_layer.redis.http import events, subscription_to


def create_app():
    app = project()

    @app.get("/prices", response_class=EventSourceResponse)
    async def prices(subscription: Annotated[object, Depends(subscription_to("prices"))]):
        async for event in events(subscription):
            yield event

    return app
"""


@pytest.mark.parametrize(
    ("number", "more"),
    [
        (signal.SIGTERM, []),
        (signal.SIGINT, []),
        (signal.SIGTERM, ["--timeout-graceful-shutdown=20"]),
    ],
    ids=["terminate", "interrupt", "terminate, with a time of grace"],
)
async def test_a_server_that_is_told_to_stop_ends_its_streams(
    database_settings: DatabaseSettings,
    redis_settings: RedisSettings,
    tmp_path: Path,
    number: signal.Signals,
    more: list[str],
) -> None:
    (tmp_path / "serving.py").write_text(SERVING)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "serving:create_app", "--factory", f"--port={port}"),
        *more,
        cwd=tmp_path,
        env={
            **os.environ,
            "DATABASE_URL": database_settings.url.get_secret_value(),
            "REDIS_URL": redis_settings.url.get_secret_value(),
            "REDIS_QUEUE_URL": "",
            "REDIS_SERVICE": redis_settings.service,
        },
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    client = await Client.connect(port)
                    break
                except OSError:
                    assert process.returncode is None, await process.communicate()
                    await asyncio.sleep(0.05)
            assert "content-type: text/event-stream" in client.headers
            process.send_signal(number)
            assert (await client.reader.read()).endswith(b"0\r\n\r\n"), "the stream is whole"
            client.vanish()
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"Traceback" not in said
    assert b"Cancel" not in said
    assert b"Application shutdown complete" in said
    assert process.returncode in {0, -number}
