"""Sessions: who is signed in, until when, and never by mistake."""

import hashlib
import json
import math
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from httpx2 import AsyncClient

from my_project.data_layer.redis import NotJson, RedisSettings, Store
from my_project.data_layer.redis.http import (
    OptionalSession,
    SessionRequired,
    SessionsDependency,
)
from tests.layer.redis.servers import OwnServer

from .conftest import problem, served

COOKIE = "__Host-session"


def routes(app: FastAPI) -> None:
    @app.post("/login/{user}")
    async def login(
        user: str, request: Request, response: Response, sessions: SessionsDependency
    ) -> str:
        return (await sessions.login(request, response, user, {"role": "trader"})).user

    @app.post("/logout")
    async def logout(request: Request, response: Response, sessions: SessionsDependency) -> None:
        await sessions.logout(request, response)

    @app.delete("/sessions/{user}")
    async def revoke(user: str, sessions: SessionsDependency) -> None:
        await sessions.revoke_all(user)

    @app.get("/me")
    async def me(session: SessionRequired) -> dict[str, Any]:
        return {"user": session.user, "data": session.data, "began": session.began}

    @app.get("/anybody")
    async def anybody(session: OptionalSession) -> str | None:
        return session.user if session else None

    @app.post("/change")
    async def change(session: SessionRequired) -> str:
        return session.user


async def login(client: AsyncClient, user: str = "alice") -> str:
    response = await client.post(f"/login/{user}")
    assert response.status_code == 200, response.text
    return response.cookies[COOKIE]


def carrying(token: str, **headers: str) -> dict[str, Any]:
    return {"headers": {"cookie": f"{COOKIE}={token}", **headers}}


@pytest.mark.standard("DL-RD-26")
async def test_the_cookie_is_opaque_and_out_of_reach(
    app: FastAPI, redis_settings: RedisSettings
) -> None:
    routes(app)
    async with served(app) as client:
        response = await client.post("/login/alice")
        cookie = response.headers["set-cookie"]
        name, _, rest = cookie.partition("=")
        token, *flags = rest.split("; ")
        assert name == COOKIE
        assert len(token) == 43
        assert {flag.lower() for flag in flags} == {
            "httponly",
            "secure",
            "samesite=lax",
            "path=/",
            "max-age=43200",
        }
        assert response.headers["cache-control"] == "no-store"
        me = await client.get("/me")
        assert me.json()["user"] == "alice"
        assert me.json()["data"] == {"role": "trader"}
        store = app.state.store
        everything = b""
        async for key in store.client.scan_iter(f"*{redis_settings.service}:*"):
            everything += key + await store.client.get(key)
            assert await store.client.ttl(key) > 0
        assert token.encode() not in everything
        assert hashlib.sha256(token.encode()).hexdigest().encode() in everything


@pytest.mark.standard("DL-RD-26")
async def test_a_login_rotates_the_session(app: FastAPI) -> None:
    routes(app)
    async with served(app) as client:
        planted = await login(client)
        rotated = await login(client, "bob")
        assert rotated != planted
        client.cookies.clear()
        problem(await client.get("/me", **carrying(planted)), 401)
        assert (await client.get("/me", **carrying(rotated))).json()["user"] == "bob"


async def test_data_that_json_does_not_have_end_no_session(app: FastAPI) -> None:
    routes(app)

    @app.post("/odd")
    async def odd(request: Request, response: Response, sessions: SessionsDependency) -> None:
        with pytest.raises(NotJson, match="The data of the session: its limit is inf"):
            await sessions.login(request, response, "bob", {"limit": math.inf})

    async with served(app) as client:
        await login(client)
        answer = await client.post("/odd")
        assert COOKIE not in answer.cookies
        assert (await client.get("/me")).json()["user"] == "alice"


async def test_a_logout_ends_one_session_and_the_others_stay(app: FastAPI) -> None:
    routes(app)
    async with served(app) as client:
        first = await login(client)
        client.cookies.clear()
        second = await login(client)
        out = await client.post("/logout")
        assert f'{COOKIE}=""' in out.headers["set-cookie"]
        client.cookies.clear()
        problem(await client.get("/me", **carrying(second)), 401)
        assert (await client.get("/me", **carrying(first))).status_code == 200


@pytest.mark.standard("DL-RD-26")
async def test_all_sessions_of_a_user_are_revoked_at_once(app: FastAPI) -> None:
    routes(app)
    async with served(app) as client:
        tokens = []
        for user in ("alice", "alice", "alice", "bob"):
            tokens.append(await login(client, user))
            client.cookies.clear()
        assert (await client.delete("/sessions/alice")).status_code == 200
        statuses = [(await client.get("/me", **carrying(token))).status_code for token in tokens]
        assert statuses == [401, 401, 401, 200]


async def test_a_session_ends_when_idle_and_in_any_case(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_SESSIONS_IDLE", "3600")
    monkeypatch.setenv("REDIS_SESSIONS_ABSOLUTE", "7200")
    routes(app)
    async with served(app) as client:
        idle = await login(client)
        client.cookies.clear()
        busy = await login(client)
        client.cookies.clear()
        for _ in range(2):
            await half_an_hour_passes(app.state.store)
            assert (await client.get("/me", **carrying(busy))).status_code == 200
        problem(await client.get("/me", **carrying(idle)), 401)
        await half_an_hour_passes(app.state.store)
        assert (await client.get("/me", **carrying(busy))).status_code == 200
        await half_an_hour_passes(app.state.store)
        problem(await client.get("/me", **carrying(busy)), 401)


async def half_an_hour_passes(store: Store) -> None:
    """Let every session be begun, and last used, that much earlier."""
    async for key in store.client.scan_iter(f"{store.settings.service}:session:*"):
        kept = json.loads(await store.client.get(key) or "")
        began = datetime.fromisoformat(kept["session"]["began"]) - timedelta(minutes=30)
        kept["session"]["began"] = began.isoformat()
        left = await store.client.pttl(key) - 1_800_000
        if left > 0:
            await store.client.set(key, json.dumps(kept), px=left)
        else:
            await store.client.delete(key)


async def test_what_redis_loses_ends_sessions_and_revives_none(app: FastAPI) -> None:
    routes(app)
    async with served(app) as client:
        for pattern in ("session", "session-mark"):
            token = await login(client)
            client.cookies.clear()
            store = app.state.store
            async for key in store.client.scan_iter(f"{store.settings.service}:{pattern}:*"):
                await store.client.delete(key)
            problem(await client.get("/me", **carrying(token)), 401)


@pytest.mark.parametrize("token", ["", "x", "../../etc", "a" * 5000, "é", "%00", "*"])
async def test_a_made_up_cookie_is_nobody(app: FastAPI, token: str) -> None:
    routes(app)
    async with served(app) as client:
        cookie = carrying(token)["headers"]["cookie"].encode("latin-1")
        headers = [(b"cookie", cookie)]
        problem(await client.get("/me", headers=headers), 401)
        anybody = await client.get("/anybody", headers=headers)
        assert (anybody.status_code, anybody.json()) == (200, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://desk.example"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_another_site_changes_nothing(
    app: FastAPI, headers: dict[str, str], status: int
) -> None:
    routes(app)
    async with served(app) as client:
        token = await login(client)
        client.cookies.clear()
        change = await client.post("/change", **carrying(token, **headers))
        assert change.status_code == status
        assert (await client.get("/me", **carrying(token, **headers))).status_code == 200
        assert (await client.post("/login/bob", headers=headers)).status_code == status


@pytest.mark.standard("DL-RD-26")
async def test_redis_down_makes_nobody_anonymous(own_app: FastAPI, own_redis: OwnServer) -> None:
    routes(own_app)
    async with served(own_app) as client:
        await login(client)
        own_redis.kill()
        for method, path in (
            ("GET", "/anybody"),
            ("GET", "/me"),
            ("POST", "/login/bob"),
            ("POST", "/logout"),
            ("DELETE", "/sessions/alice"),
        ):
            body = problem(await client.request(method, path), 503)
            assert body["detail"] == "Sessions can't be read or changed now; try again."
        client.cookies.clear()
        # Without a cookie there is nothing to ask.
        assert (await client.get("/anybody")).json() is None
