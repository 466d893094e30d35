"""The API as this project is set up: errors, versions, health and metrics."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter, Response
from httpx2 import ASGITransport, AsyncClient
from httpx2 import Response as Answer

from tests.data_layer import layer
from tests.data_layer.things import Thing

router = APIRouter()


class Refused(Exception):
    """An error of a domain whose message is meant for the client."""


@router.get("/things/{key}")
async def read_thing(
    key: int, database: layer.http.DatabaseDependency, response: Response
) -> dict[str, str]:
    async with database.read_only() as session:
        thing = await session.get(Thing, key)
    if thing is None:
        raise layer.database.NotFound("Thing", key)
    layer.http.set_etag(response, thing.version)
    return {"name": thing.name}


@router.put("/things/{key}/name")
async def rename_thing(
    key: int,
    name: str,
    version: layer.http.ExpectedVersion,
    database: layer.http.DatabaseDependency,
    response: Response,
) -> None:
    if not name:
        raise Refused("A thing has a name.")
    async with (
        database.transaction() as session,
        layer.database.expecting(session, Thing, key, version) as thing,
    ):
        thing.name = name
    layer.http.set_etag(response, thing.version)


@pytest.fixture
async def client(
    things: layer.database.Database, database_in_environment: None
) -> AsyncIterator[AsyncClient]:
    """A client of an application on the settings of the environment."""
    app = layer.http.create_api("test", refusals={Refused: 409})
    app.include_router(router)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


@pytest.fixture
async def path(things: layer.database.Database) -> str:
    """The path of a thing of version 1."""
    async with things.transaction() as session:
        session.add(thing := Thing(name="bolt"))
    return f"/things/{thing.id}"


def problem(answer: Answer, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["type"] == f"urn:problem-type:{kind}"
    return told


@pytest.mark.standard("DL-TX-04")
async def test_a_change_names_its_version_and_a_conflict_is_409(
    client: AsyncClient, path: str
) -> None:
    read = await client.get(path)
    assert (read.json(), read.headers["etag"]) == ({"name": "bolt"}, '"1"')

    async def rename(name: str, **headers: str) -> Answer:
        return await client.put(f"{path}/name", params={"name": name}, headers=headers)

    problem(await rename("nut"), 428, "precondition-required")
    renamed = await rename("nut", **{"If-Match": '"1"'})
    assert (renamed.status_code, renamed.headers["etag"]) == (200, '"2"')
    stale = problem(await rename("pin", **{"If-Match": '"1"'}), 409, "stale-version")
    assert (stale["expected_version"], stale["current_version"]) == (1, 2)
    refused = problem(await rename("", **{"If-Match": '"2"'}), 409, "refused")
    assert refused["detail"] == "A thing has a name."
    assert (await client.get(path)).json() == {"name": "nut"}


async def test_what_is_wrong_with_a_request_is_a_problem(client: AsyncClient, path: str) -> None:
    problem(await client.get("/things/0"), 404, "not-found")
    problem(await client.get("/nowhere"), 404, "http-not-found")
    secret = "hunter2"
    wrong = await client.get(f"/things/{secret}")
    assert problem(wrong, 422, "invalid-request")["errors"][0]["loc"] == ["path", "key"]
    assert secret not in wrong.text


async def test_what_the_database_refuses_names_the_constraint_and_no_value(
    client: AsyncClient, path: str, things: layer.database.Database
) -> None:
    async with things.transaction() as session:
        session.add(Thing(name="hunter2"))

    async def rename(name: str) -> Answer:
        headers = {"If-Match": '"1"'}
        return await client.put(f"{path}/name", params={"name": name}, headers=headers)

    taken, unfit = await rename("hunter2"), await rename("hunter2\0")
    conflict = problem(taken, 409, "constraint-conflict")
    assert conflict["constraint"] == "uq_layer_test_things_name"
    problem(unfit, 422, "refused-value")
    assert "hunter2" not in taken.text + unfit.text


async def test_health_and_metrics(client: AsyncClient, path: str) -> None:
    assert (await client.get("/health/live")).json() == {"alive": True}
    ready = await client.get("/health/ready")
    assert ready.status_code == 200, ready.text
    assert ready.json()["dependencies"]["postgresql"]
    await client.get(path)
    metrics = (await client.get("/metrics")).text
    assert 'handler="/things/{key}"' in metrics
    assert "database_pool_size" in metrics


@pytest.mark.usefixtures("database_in_environment")
async def test_without_its_database_it_lives_and_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    app = layer.http.create_api("test")
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test") as client,
    ):
        assert (await client.get("/health/live")).status_code == 200
        told = problem(await client.get("/health/ready"), 503, "not-ready")
    assert "postgresql" in told["detail"]
