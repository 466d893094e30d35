"""A little application of the tests' own, without a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from pydantic import SecretStr

from my_project.data_layer.http import metrics, problems
from my_project.data_layer.redis import RedisSettings
from my_project.data_layer.redis.http import redis_resources
from tests.data_layer.redis.fixtures import settings_of
from tests.layer.redis.servers import OwnServer


@pytest.fixture
def app(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """An application on the shared server; tests add their routes."""
    return application(redis_settings, monkeypatch)


@pytest.fixture
def own_app(own_redis: OwnServer, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """An application on a server that the test may stop."""
    bounds = {"timeout": 2.0, "connect_timeout": 0.5, "breaker_pause": 0.1}
    return application(settings_of(own_redis.url, **bounds), monkeypatch)


def application(settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    for name, value in settings.model_dump(exclude_unset=True).items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"REDIS_{name.upper()}", text)
    monkeypatch.delenv("REDIS_QUEUE_URL")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with redis_resources(app.state):
            yield

    app = FastAPI(lifespan=lifespan)
    problems.install(app)
    metrics.install(app)
    return app


@asynccontextmanager
async def served(app: FastAPI, **arguments: Any) -> AsyncIterator[AsyncClient]:
    """A client of the running `app`, over TLS as browsers see it."""
    async with (
        app.router.lifespan_context(app),
        AsyncClient(
            transport=ASGITransport(app), base_url="https://desk.example", **arguments
        ) as client,
    ):
        yield client


def problem(response: Response, status: int) -> dict[str, Any]:
    """The body of an answer that is a problem."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    return body
