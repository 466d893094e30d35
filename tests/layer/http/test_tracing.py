"""A request as a trace: its transaction, its statements, and no value of a client or a row."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, HTTPError
from sqlalchemy import select, text

from my_project.data_layer.database import Database, DatabaseSettings, copy_in, upsert
from my_project.data_layer.http import DatabaseDependency, Unavailable, create_api
from tests.layer import PATIENCE
from tests.layer.collector import collecting
from tests.layer.servers import free_port
from tests.layer.spans import Spans, tracing_on

from .conftest import Note, router, served
from .test_health import uvicorn

SECRET = "hunter2"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    with tracing_on(monkeypatch) as spans:
        yield spans


@pytest.fixture
def app(spans: Spans, database_settings: DatabaseSettings) -> FastAPI:
    app = create_api("test", settings=database_settings)
    app.include_router(router)
    return app


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """The running application, after what SQLAlchemy asks a server at first."""
    async with served(app, raise_errors=False) as client:
        assert (await client.get("/health/ready")).status_code == 200
        yield client


async def test_a_request_is_a_tree_of_transactions_and_statements(
    app: FastAPI, note: Note, spans: Spans
) -> None:
    async with serving(app) as client:
        answer = await client.put(
            f"/notes/{note.id}", json={"text": "second"}, headers={"If-Match": '"1"'}
        )
        assert answer.status_code == 200, answer.text
    assert spans.tree == [
        "PUT /notes/{key}",
        "  transaction",
        *("    SELECT", "    SAVEPOINT", "    UPDATE", "    RELEASE"),
    ]
    request, transaction, read, _, write, _ = spans.ended
    assert request.attributes == {
        "http.request.method": "PUT",
        "http.route": "/notes/{key}",
        "http.response.status_code": 200,
        "request_id": answer.headers["x-request-id"],
    }
    assert (request.kind.name, transaction.kind.name, read.kind.name) == (
        *("SERVER", "INTERNAL", "CLIENT"),
    )
    said = str((write.attributes or {})["db.query.text"])
    assert said.startswith("UPDATE http_test_notes SET ")
    assert "%(text)s" in said
    # Logs and traces are found by one search.
    assert spans.traces == {answer.headers["x-request-id"]}
    assert {(one.attributes or {})["request_id"] for one in spans.ended} == spans.traces
    assert str(request.resource.attributes["service.name"]) == "my-project"


async def test_a_trace_goes_on_that_another_program_began(app: FastAPI, spans: Spans) -> None:
    async with serving(app) as client:
        await client.get("/nowhere", headers={"traceparent": PARENT})
        first = await client.get("/nowhere", headers={"traceparent": PARENT})
        named = {"traceparent": PARENT, "X-Request-ID": "desk-1"}
        second = await client.get("/nowhere", headers=named)
    trace, parent = PARENT.split("-")[1:3]
    assert spans.traces == {trace}
    requests = [one for one in spans.ended if one.kind.name == "SERVER"]
    assert [f"{one.parent.span_id:016x}" for one in requests if one.parent] == 3 * [parent]
    assert first.headers["x-request-id"] == trace
    assert second.headers["x-request-id"] == "desk-1"


@pytest.mark.parametrize(
    "given",
    ["", "desk-1", "0" * 32, "6f1c2ab1-09fb-4f4b-9a5d-0d1fd0a5c0de"],
)
async def test_requests_with_one_id_are_in_one_trace(
    app: FastAPI, spans: Spans, given: str
) -> None:
    async with serving(app) as client:
        for _ in range(2):
            answer = await client.get("/nowhere", headers={"X-Request-ID": given} if given else {})
            assert answer.status_code == 404
    alike = given not in ("", "0" * 32)
    assert len(spans.traces) == (1 if alike else 2)
    if "-" in given[8:]:
        assert spans.traces == {given.replace("-", "")}


async def test_no_span_holds_a_value(
    app: FastAPI, note: Note, database: Database, spans: Spans
) -> None:
    """Of a row, a parameter, a path, a query, a header; nor does the text of an error."""

    @app.get("/broken/{part}")
    async def break_(part: str, database: DatabaseDependency) -> None:
        async with database.transaction() as session:
            await session.execute(select(Note).where(Note.text == part))
            await session.execute(text("SELECT CAST(:given AS integer)"), {"given": part})

    @app.get("/refused/{part}")
    async def refuse(part: str, database: DatabaseDependency) -> None:
        async with database.transaction() as session:
            session.add(Note(text=part * 20))

    @app.get("/raised/{part}")
    async def raise_(part: str, database: DatabaseDependency) -> None:
        async with database.transaction() as session:
            said = text("DO $$ BEGIN RAISE EXCEPTION 'no % here', current_setting('a.b'); END $$")
            await session.execute(text("SELECT set_config('a.b', :part, true)"), {"part": part})
            await session.execute(said)

    @app.get("/loaded/{part}")
    async def load(part: str, database: DatabaseDependency) -> None:
        async with database.transaction() as session:
            await copy_in(session, Note, [(part, 1)], columns=["text", "version"])
            await upsert(
                session, Note, [(9, part, 1)], key=["id"], columns=["id", "text", "version"]
            )
            await copy_in(session, Note, [(part * 20, 1)], columns=["text", "version"])

    @app.get("/unexpected/{part}")
    async def fail(part: str) -> None:
        raise KeyError(part)

    @app.get("/away/{part}")
    async def away(part: str) -> None:
        raise Unavailable(part)

    statuses = {
        "broken": 422,
        "refused": 422,
        "raised": 500,
        "loaded": 422,
        "unexpected": 500,
        "away": 503,
    }
    headers = {"X-Given": SECRET, "Cookie": SECRET, "User-Agent": SECRET}
    async with serving(app) as client:
        for path, status in statuses.items():
            url = f"/{path}/{SECRET}?given={SECRET}"
            answer = await client.get(url, headers=headers)
            assert answer.status_code == status, answer.text
    assert SECRET not in spans.text
    # The proof is about spans that are there, and errors that they tell of.
    kinds = {
        one.name: (one.attributes or {}).get("error.type")
        for one in spans.ended
        if one.kind.name == "SERVER" or one.name.startswith(("COPY", "upsert", "DO"))
    }
    assert kinds == {
        "GET /broken/{part}": None,
        "GET /refused/{part}": None,
        "GET /raised/{part}": "ProgrammingError",
        "DO": "RaiseException",
        "GET /loaded/{part}": None,
        "COPY http_test_notes": "RowRejected",
        "upsert http_test_notes": None,
        "GET /unexpected/{part}": "KeyError",
        "GET /away/{part}": "503",
    }
    assert {"INSERT", "SELECT"} <= {one.name for one in spans.ended}
    assert all(not one.events and not one.status.description for one in spans.ended)


async def test_what_nobody_asked_for_leaves_no_trace(app: FastAPI, spans: Spans) -> None:
    """Neither the monitoring, nor what asks by itself whether there is something to do."""
    async with serving(app) as client:
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200
        database: Database = app.state.database
        async with database.read_only() as session:
            await session.execute(text("SELECT 1"))
    assert spans.ended == []


async def test_a_trace_that_is_not_sampled_costs_no_spans(app: FastAPI, spans: Spans) -> None:
    async with serving(app) as client:
        await client.get("/notes/1", headers={"traceparent": PARENT[:-1] + "0"})
    assert spans.ended == []


async def test_a_text_is_told_by_its_first_word_and_beginning(app: FastAPI, spans: Spans) -> None:
    @app.get("/long")
    async def long(database: DatabaseDependency) -> None:
        async with database.read_only() as session:
            await session.execute(text(f"-- which\n /* and why */ select '{'x' * 9000}'"))

    async with serving(app) as client:
        await client.get("/long")
    said = str((spans.named("SELECT").attributes or {})["db.query.text"])
    assert len(said) == 2000


async def test_a_server_that_is_told_to_stop_sends_the_last_ones(tmp_path: Path) -> None:
    port = free_port()
    url = "postgresql://desk:hunter2@127.0.0.1:1/desk"
    with collecting() as collector:
        told = {"SEND_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with uvicorn(tmp_path, port, DATABASE_URL=url, **told) as process:
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                async with asyncio.timeout(PATIENCE):
                    while True:
                        try:
                            await client.get("/nowhere")
                            break
                        except HTTPError:
                            await asyncio.sleep(0.1)
            process.terminate()
            await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert collector.spans == [("my-project", "GET none")]
