"""Redis for the API: what opens with the application, limits and sessions of routes."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from fastapi import APIRouter, Request, Response
from httpx2 import ASGITransport, AsyncClient

from tests.data_layer import layer

LIMIT = layer.redis_limits.Limit("layer-test", quota=2, window=timedelta(minutes=1))

router = APIRouter()


@router.get("/limited", dependencies=[layer.redis_http.limited(LIMIT)])
async def read_limited() -> None:
    """May be asked twice a minute."""


@router.post("/login")
async def login(
    request: Request, response: Response, sessions: layer.redis_http.SessionsDependency
) -> None:
    await sessions.login(request, response, "ada")


@router.get("/me")
async def read_me(session: layer.redis_http.SessionRequired) -> str:
    return session.user


@pytest.fixture
async def client(
    database_settings: layer.database.DatabaseSettings, redis_in_environment: None
) -> AsyncIterator[AsyncClient]:
    """A client of an application, over TLS as far as it can see."""
    app = layer.http.create_api("test", settings=database_settings)
    app.include_router(router)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="https://test") as client,
    ):
        yield client


@pytest.mark.standard("DL-RD-24")
async def test_a_limited_route_answers_429(client: AsyncClient) -> None:
    answers = [await client.get("/limited") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit"] == '"layer-test";r=1'
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    metrics = (await client.get("/metrics")).text
    assert "redis_available 1.0" in metrics


@pytest.mark.standard("DL-RD-26")
async def test_a_session_is_an_opaque_cookie(client: AsyncClient) -> None:
    assert (await client.get("/me")).status_code == 401
    signed_in = await client.post("/login")
    assert signed_in.status_code == 200, signed_in.text
    cookie = signed_in.headers["set-cookie"].lower()
    assert cookie.startswith("__host-session=")
    assert {"httponly", "secure"} <= set(cookie.split("; "))
    assert "ada" not in cookie
    assert (await client.get("/me")).json() == "ada"
    client.cookies.clear()
    client.cookies.set("__Host-session", "guessed")
    assert (await client.get("/me")).status_code == 401
