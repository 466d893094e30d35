"""HEAD, Allow, and bodies that are too large."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient

from my_project.data_layer.database import DatabaseSettings
from my_project.data_layer.http import create_api

from .conftest import Note, served
from .test_problems import problem


@pytest.mark.parametrize("path", ["/notes/{}", "/health/live", "/openapi.json", "/metrics"])
async def test_head_is_get_without_the_body(client: AsyncClient, note: Note, path: str) -> None:
    path = path.format(note.id)
    asked = {"X-Request-ID": "desk-1"}
    got = await client.get(path, headers=asked)
    head = await client.head(path, headers=asked)
    assert (got.status_code, head.status_code) == (200, 200)
    assert got.content
    assert head.content == b""
    if path != "/metrics":  # whose numbers have changed meanwhile
        assert head.headers == got.headers


async def test_head_of_an_error_has_its_status(client: AsyncClient) -> None:
    assert (await client.head("/notes/abc")).status_code == 422
    assert (await client.head("/nowhere")).status_code == 404


async def test_head_of_an_endless_stream_ends(app: FastAPI) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "more"
        finally:
            ended.set()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(endless(), media_type="text/event-stream")

    async with served(app) as client:
        response = await client.head("/stream")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content == b""


async def test_allow_names_every_method_of_the_path(app: FastAPI) -> None:
    @app.delete("/notes/{key}")
    async def remove(key: int) -> None: ...

    @app.post("/orders")
    async def order() -> None: ...

    async with served(app) as client:
        notes = await client.post("/notes/1")
        orders = await client.head("/orders")
    assert notes.status_code == orders.status_code == 405
    assert notes.headers["allow"] == "DELETE, GET, HEAD, PUT"
    assert orders.headers["allow"] == "POST"
    problem(notes)


@pytest.fixture
def small(database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """An application that takes ten bytes."""
    monkeypatch.setenv("HTTP_MAX_BODY_SIZE", "10")
    app = create_api("test", settings=database_settings)

    @app.post("/read")
    async def read(request: Request) -> Response:
        return Response(await request.body())

    @app.post("/ignored")
    async def ignored() -> str:
        return "not read"

    return app


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield b"x"


@pytest.mark.parametrize("path", ["/read", "/ignored"])
async def test_a_body_that_is_too_large_is_a_problem(small: FastAPI, path: str) -> None:
    async with served(small) as client:
        assert (await client.post(path, content=b"x" * 10)).status_code == 200
        response = await client.post(path, content=b"x" * 11)
    assert response.status_code == 413
    assert problem(response)["type"] == "urn:problem-type:content-too-large"


async def test_a_body_in_chunks_is_counted(small: FastAPI) -> None:
    read = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal read
        async for chunk in chunks(1000):
            read += 1
            yield chunk

    async with served(small) as client:
        assert (await client.post("/read", content=chunks(10))).text == "x" * 10
        response = await client.post("/read", content=counted())
    assert response.status_code == 413
    assert problem(response)["type"] == "urn:problem-type:content-too-large"
    assert read < 20


async def test_a_wrong_limit_ends_the_start_with_a_sentence(
    database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_MAX_BODY_SIZE", "much")
    with pytest.raises(
        SystemExit, match=r"HTTP_MAX_BODY_SIZE in \.env or the environment is wrong"
    ):
        create_api("test", settings=database_settings)
