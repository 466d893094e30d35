"""Sessions, responses and limits on several servers, and on one that hangs or is full."""

import asyncio
import time
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from redis import Redis

from my_project.data_layer.redis import Key
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer
from tests.layer.redis.topologies import Watched
from tests.layer.redis.waiting import Transaction, eventually

from . import test_limited_routes, test_responses, test_sessions
from .conftest import application, problem, served
from .test_sessions import carrying, login

TIMEOUT = 0.3
# What an answer may take beyond that on a machine that is busy.
BUSY = 60.0


def with_routes(app: FastAPI, *, when_down: str = "open") -> test_responses.Backend:
    test_sessions.routes(app)
    test_limited_routes.routes(app, when_down=when_down)
    return test_responses.routes(app)


class Watch:
    """A client that holds every answer against the bound on waiting for Redis."""

    def __init__(self, client: AsyncClient, bound: float = TIMEOUT) -> None:
        self._client = client
        self._bound = bound

    async def __call__(self, method: str, path: str, **arguments: Any) -> Response:
        begun = time.monotonic()
        response = await self._client.request(method, path, **arguments)
        took = time.monotonic() - begun
        assert took < self._bound + BUSY, (method, path, took)
        if response.status_code == 503:
            problem(response, 503)
            assert response.headers["retry-after"]
        return response

    async def until(self, status: int, method: str, path: str, **arguments: Any) -> Response:
        async with asyncio.timeout(PATIENCE):
            while True:
                response = await self(method, path, **arguments)
                if response.status_code == status:
                    return response
                assert response.status_code in {status, 503}, response.text
                await asyncio.sleep(0.05)


@pytest.mark.standard("DL-RD-26")
@pytest.mark.parametrize("topology", ["three", "guarded"])
async def test_all_of_it_works_on_a_cluster_and_behind_sentinels(
    topology: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = request.getfixturevalue(topology).settings
    # What is asked is whether it works there, not how soon.
    patient = settings.model_copy(update={"timeout": 60.0, "connect_timeout": 60.0})
    app = application(patient, monkeypatch)
    backend = with_routes(app)
    users = [f"user {number}" for number in range(12)]  # in every part of a cluster
    async with served(app) as client:
        tokens = {}
        for user in users:
            tokens[user] = await login(client, user)
            client.cookies.clear()
        for user, token in tokens.items():
            assert (await client.get("/me", **carrying(token))).json()["user"] == user
        first, second, third, *others = users
        await client.post(f"/login/{second}", **carrying(tokens[first]))
        client.cookies.clear()
        await client.post("/logout", **carrying(tokens[third]))
        assert (await client.delete(f"/sessions/{second}")).status_code == 200
        for user in (first, second, third):
            problem(await client.get("/me", **carrying(tokens[user])), 401)
        for user in others:
            assert (await client.get("/me", **carrying(tokens[user]))).status_code == 200

        for number in range(12):
            found = await client.get(f"/notes/{number}")
            tag = {"if-none-match": found.headers["etag"]}
            assert (await client.get(f"/notes/{number}", headers=tag)).status_code == 304
        assert backend.asked == 12
        backend.text = "second"
        async with Transaction() as session:
            app.state.cache.changed(session, test_responses.NOTES)
        for number in range(12):
            assert (await client.get(f"/notes/{number}")).json()["text"] == "second"

        statuses = [
            (await client.post("/notes", headers={"x-client": name})).status_code
            for name in "aaaabbb"
        ]
        assert statuses == [200, 200, 200, 429, 200, 200, 429]
        assert app.state.store.counts["failures"] == 0


@pytest.mark.standard("DL-RD-26")
async def test_a_failover_is_a_503_for_a_moment_and_signs_nobody_out(
    guarded: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A killed server refuses at once; what is well again may be slow on a busy machine.
    app = application(guarded.settings.model_copy(update={"timeout": 10.0}), monkeypatch)
    with_routes(app)
    async with served(app) as client:
        ask = Watch(client, 10.0)
        token = await login(client)
        killed = guarded.master
        with Redis.from_url(killed.url) as master:
            # From here on a replica has the session.
            master.set(str(Key(guarded.service, "probe", "1")), "1", ex=1)
            assert master.execute_command("WAIT", 1, 60_000) >= 1
        killed.kill()
        assert (await ask("GET", "/anybody")).status_code == 503
        for _ in range(10):
            assert (await ask("GET", "/notes/1")).status_code == 200
            assert (await ask("POST", "/notes")).status_code == 200
        assert (await ask.until(200, "GET", "/me")).json()["user"] == "alice"
        await eventually(lambda: guarded.master is not killed)
        await ask.until(200, "DELETE", "/sessions/alice")
        problem(await ask.until(401, "GET", "/me", **carrying(token)), 401)
        assert "ratelimit" in (await ask("POST", "/notes")).headers
        await ask.until(200, "POST", "/login/bob")


@pytest.mark.parametrize("when_down", ["open", "closed"])
async def test_a_server_that_hangs_is_a_plain_answer_in_time(
    own_redis: OwnServer, monkeypatch: pytest.MonkeyPatch, when_down: str
) -> None:
    app = application(settings_of(own_redis.url, timeout=TIMEOUT, breaker_pause=0.1), monkeypatch)
    with_routes(app, when_down=when_down)
    async with served(app) as client:
        ask = Watch(client)
        await ask.until(200, "POST", "/login/alice")
        limited = 200 if when_down == "open" else 503
        own_redis.pause()
        try:
            for method, path, status in (
                ("GET", "/me", 503),
                ("GET", "/anybody", 503),
                ("POST", "/login/bob", 503),
                ("POST", "/logout", 503),
                ("DELETE", "/sessions/alice", 503),
                ("POST", "/notes", limited),
                ("GET", "/notes/1", 200),
                ("GET", "/notes/1", 200),
            ):
                assert (await ask(method, path)).status_code == status, path
        finally:
            own_redis.resume()
        assert (await ask.until(200, "GET", "/me")).json()["user"] == "alice"
        assert "ratelimit" in (await ask("POST", "/notes")).headers


async def test_a_full_server_knows_who_is_signed_in_and_signs_nobody_in(
    own_app: FastAPI, own_redis: OwnServer
) -> None:
    with_routes(own_app)
    async with served(own_app) as client:
        ask = Watch(client)
        token = await login(client)
        with Redis.from_url(own_redis.url) as redis:
            redis.config_set("maxmemory", "1")  # and evicts nothing
            assert (await ask("GET", "/me")).json()["user"] == "alice"
            assert (await ask("GET", "/notes/1")).status_code == 200
            assert (await ask("POST", "/notes")).status_code == 200
            # The old session is over; a new one has no place.
            problem(await ask("POST", "/login/bob"), 503)
            problem(await ask("GET", "/me", **carrying(token)), 401)
            redis.config_set("maxmemory", "0")
        assert (await ask("POST", "/login/bob")).status_code == 200
        assert (await ask("GET", "/me")).json()["user"] == "bob"
