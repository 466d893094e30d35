"""The id of a request: in its answer, whatever that is, and in all that is logged of it."""

import asyncio
import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, HTTPError

from my_project.data_layer import logs
from tests.layer import PATIENCE
from tests.layer.servers import free_port

from .conftest import served
from .test_health import uvicorn


async def test_each_request_has_its_id(app: FastAPI) -> None:
    seen: list[str | None] = []

    @app.get("/seen")
    async def see() -> None:
        seen.append(logs.request_id())

    async with served(app) as client:
        answers = [
            await client.get("/seen", headers={"X-Request-ID": "desk-1.a_B"}),
            await client.get("/seen"),
            await client.get("/seen"),
        ]
    told = [answer.headers["x-request-id"] for answer in answers]
    assert told == seen
    assert told[0] == "desk-1.a_B"
    assert len({*told}) == 3


@pytest.mark.parametrize("given", ["", "a b", "ä", "x" * 65, "a\tb"])
async def test_an_id_that_is_none_is_replaced(client: AsyncClient, given: str) -> None:
    answer = await client.get("/health/live", headers=[(b"x-request-id", given.encode())])
    assert len(answer.headers["x-request-id"]) == 32


async def test_every_answer_names_it(app: FastAPI) -> None:
    @app.get("/broken")
    async def fail() -> None:
        raise KeyError("broken")

    asked = [("GET", "/nowhere", 404), ("DELETE", "/health/live", 405), ("GET", "/broken", 500)]
    headers = {"X-Request-ID": "desk-2"}
    async with served(app, raise_errors=False) as client:
        for method, path, status in asked:
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == status
            assert answer.headers.get_list("x-request-id") == ["desk-2"]
        large = {**headers, "content-length": "999999999"}
        refused = await client.post("/notes", content=b"", headers=large)
        assert (refused.status_code, refused.headers["x-request-id"]) == (413, "desk-2")


async def test_requests_at_once_keep_theirs(app: FastAPI) -> None:
    barrier = asyncio.Barrier(8)

    @app.get("/together")
    async def together() -> str | None:
        async with barrier:
            return logs.request_id()

    async def ask(client: AsyncClient, identifier: str) -> str:
        answer = await client.get("/together", headers={"X-Request-ID": identifier})
        return str(answer.json())

    ids = [f"desk-{number}" for number in range(8)]
    async with served(app) as client:
        assert await asyncio.gather(*(ask(client, identifier) for identifier in ids)) == ids


async def test_a_server_logs_json_alone(tmp_path: Path) -> None:
    port = free_port()
    url = "postgresql://desk:hunter2@127.0.0.1:1/desk"
    with uvicorn(tmp_path, port, DATABASE_URL=url, JSON_LOGS="true") as process:
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await client.get("/health/ready", headers={"X-Request-ID": "desk-3"})
                        break
                    except HTTPError:
                        await asyncio.sleep(0.1)
        process.terminate()
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert stdout == ""
    lines = [json.loads(line) for line in stderr.splitlines()]
    about = [line for line in lines if line.get("request_id") == "desk-3"]
    assert {line["logger"] for line in about} == {
        "my_project.data_layer.http.health",
        "uvicorn.access",
    }
    assert {line["level"] for line in lines} <= {"INFO", "WARNING"}
    assert "hunter2" not in stderr
