import logging
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from httpx2 import AsyncClient, Response
from pydantic import BaseModel

from my_project.data_layer.database import (
    DatabaseUnreachable,
    LockTimeout,
    NotFound,
    PoolExhausted,
    RowRejected,
    StaleVersion,
    StatementTimeout,
    TransactionConflict,
    Violation,
)
from my_project.data_layer.database.errors import Kind

from .conftest import Note, Refused, served


def problem(response: Response) -> dict[str, Any]:
    """The body, which must be a whole problem of RFC 9457."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["type"].startswith("urn:problem-type:")
    return body


def raising(app: FastAPI, error: Exception) -> None:
    @app.get("/raises")
    async def raises() -> None:
        raise error


async def test_an_unknown_path_is_a_problem(client: AsyncClient) -> None:
    response = await client.get("/nowhere")
    assert response.status_code == 404
    problem(response)


async def test_a_wrong_method_is_a_problem_that_keeps_the_allow_header(client: AsyncClient) -> None:
    response = await client.post("/health/live")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
    problem(response)


async def test_an_exception_of_the_framework_is_a_problem(app: FastAPI) -> None:
    raising(app, HTTPException(403, "Not yours.", headers={"X-Reason": "test"}))
    async with served(app) as client:
        response = await client.get("/raises")
    assert response.status_code == 403
    assert response.headers["x-reason"] == "test"
    assert problem(response)["detail"] == "Not yours."


class Login(BaseModel):
    user: int
    token: int


@pytest.mark.parametrize(
    "content",
    [
        '{"user": 1, "token": "hunter2"}',
        '{"user": "hunter2", "token": 1}',
        '["hunter2"]',
        '"hunter2"',
        "hunter2",
        '{"user": hunter2',
    ],
)
async def test_invalid_input_is_named_and_not_repeated(app: FastAPI, content: str) -> None:
    @app.post("/login")
    async def login(body: Login) -> None:
        raise AssertionError(body)

    async with served(app) as client:
        response = await client.post(
            "/login", content=content, headers={"Content-Type": "application/json"}
        )
    assert response.status_code == 422
    body = problem(response)
    assert body["errors"]
    assert all(found["loc"][0] == "body" and found["msg"] for found in body["errors"])
    assert "hunter2" not in response.text


async def test_invalid_parameters_are_named(client: AsyncClient) -> None:
    response = await client.get("/notes/abc")
    assert response.status_code == 422
    assert problem(response)["errors"][0]["loc"] == ["path", "key"]


async def test_an_unexpected_error_tells_the_client_nothing(app: FastAPI) -> None:
    raising(app, RuntimeError("hunter2"))
    async with served(app, raise_errors=False) as client:
        response = await client.get("/raises")
    assert response.status_code == 500
    assert problem(response)["detail"].startswith("The server met an error")
    assert "hunter2" not in response.text
    assert "RuntimeError" not in response.text


async def test_an_unexpected_error_reaches_the_log_of_the_server(app: FastAPI) -> None:
    raising(app, RuntimeError("hunter2"))
    async with served(app) as client:
        # What a server gets to see, it logs with the traceback.
        with pytest.raises(RuntimeError, match="hunter2"):
            await client.get("/raises")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PoolExhausted("db.internal:5432"), 503),
        (DatabaseUnreachable("db.internal:5432"), 503),
        (LockTimeout("db.internal:5432"), 503),
        (TransactionConflict("db.internal:5432"), 503),
        (StatementTimeout("db.internal:5432"), 504),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_the_database_cannot_serve(
    app: FastAPI, error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    raising(app, error)
    with caplog.at_level(logging.WARNING):
        async with served(app) as client:
            response = await client.get("/raises")
    assert response.status_code == status
    assert response.headers.get("retry-after") == ("1" if status == 503 else None)
    problem(response)
    assert "db.internal" not in response.text
    logged = [record for record in caplog.records if "db.internal" in record.getMessage()]
    assert [(record.levelname, record.exc_info) for record in logged] == [("WARNING", None)]


async def test_a_missing_entity(app: FastAPI) -> None:
    raising(app, NotFound("Note", 7))
    async with served(app) as client:
        response = await client.get("/raises")
    assert response.status_code == 404
    assert "Note" in problem(response)["detail"]


@pytest.mark.standard("DL-TX-04")
@pytest.mark.parametrize("current", [5, None])
async def test_a_stale_version_is_a_conflict(app: FastAPI, current: int | None) -> None:
    raising(app, StaleVersion("Note", 7, expected=3, current=current))
    async with served(app) as client:
        response = await client.get("/raises")
    assert response.status_code == 409
    body = problem(response)
    assert body["type"] == "urn:problem-type:stale-version"
    assert body["expected_version"] == 3
    assert body["current_version"] == current


async def test_a_refusal_of_the_domain_keeps_its_message(app: FastAPI) -> None:
    raising(app, Refused("You may not."))
    async with served(app) as client:
        response = await client.get("/raises")
    assert response.status_code == 409
    body = problem(response)
    assert body["type"] == "urn:problem-type:refused"
    assert body["detail"] == "You may not."


async def test_every_documented_error_is_a_problem(client: AsyncClient, note: Note) -> None:
    schema = (await client.get("/openapi.json")).json()
    documented = [
        (path, status, response)
        for path, methods in schema["paths"].items()
        for method in methods.values()
        for status, response in method["responses"].items()
        if status[0] in "45"
    ]
    assert {status for _, status, _ in documented} >= {"409", "422", "503", "4XX", "5XX"}
    for path, status, response in documented:
        assert list(response["content"]) == ["application/problem+json"], (path, status)
    conflict = schema["paths"]["/notes/{key}"]["put"]["responses"]["409"]
    example = conflict["content"]["application/problem+json"]["example"]
    assert example["type"] == "urn:problem-type:stale-version"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("unique", 409),
        ("exclusion", 409),
        ("foreign key", 409),
        ("check", 422),
        ("not null", 422),
        ("value", 422),
    ],
)
@pytest.mark.parametrize("error", [Violation, RowRejected])
async def test_a_violation_names_its_constraint(
    app: FastAPI,
    kind: Kind,
    status: int,
    error: type[Violation],
    caplog: pytest.LogCaptureFixture,
) -> None:
    violation = Violation("It breaks.", kind=kind, table="t", constraint="the_rule", column="c")
    raising(app, violation if error is Violation else RowRejected("It breaks.", 7, why=violation))
    async with served(app) as client:
        response = await client.get("/raises")
    assert response.status_code == status
    body = problem(response)
    assert body["detail"] == "It breaks."
    assert body["constraint"] == "the_rule"
    # What may be a fault of the program's own statement is in its log.
    assert ("It breaks." in caplog.text) == (kind == "value")


@pytest.mark.parametrize(
    ("end", "constraint"), [("x" * 100, "ck_http_test_notes_short"), ("\0", None)]
)
async def test_a_row_that_the_database_refuses_is_in_no_log(
    client: AsyncClient,
    note: Note,
    caplog: pytest.LogCaptureFixture,
    end: str,
    constraint: str | None,
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = await client.put(
            f"/notes/{note.id}", json={"text": f"hunter2 {end}"}, headers={"If-Match": '"1"'}
        )
    assert response.status_code == 422
    assert problem(response)["constraint"] == constraint
    assert "hunter2" not in response.text + caplog.text
