"""Limits on routes: headers of the standard draft, 429 and 503 as problems."""

from datetime import timedelta

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from my_project.data_layer.redis.http import limited
from my_project.data_layer.redis.limits import Limit
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer

from .conftest import problem, served

PER_CLIENT = Limit("notes.write", 3, timedelta(hours=1))
IN_ALL = Limit("notes.all", 5, timedelta(hours=1))


def routes(app: FastAPI, *, when_down: str = "open") -> None:
    closed = Limit("notes.closed", 3, timedelta(hours=1), when_down="closed")
    per_client = limited(
        closed if when_down == "closed" else PER_CLIENT,
        by=lambda request: request.headers.get("x-client", "nobody"),
    )

    @app.post("/notes", dependencies=[per_client, limited(IN_ALL, by=lambda request: "*")])
    async def write() -> str:
        return "written"

    @app.get("/notes", dependencies=[limited(PER_CLIENT)])
    async def read() -> str:
        return "read"


@pytest.mark.standard("DL-RD-24")
async def test_a_client_that_asks_too_often_is_told_when_to_come_back(app: FastAPI) -> None:
    routes(app)
    async with served(app) as client:
        left = []
        for _ in range(3):
            response = await client.post("/notes", headers={"x-client": "one"})
            assert response.status_code == 200
            left.append(response.headers.get_list("ratelimit"))
        assert left[:2] == [
            ['"notes.write";r=2', '"notes.all";r=4'],
            ['"notes.write";r=1', '"notes.all";r=3'],
        ]
        full, others = left[2]
        assert 3600 - PATIENCE < int(full.removeprefix('"notes.write";r=0;t=')) <= 3600
        assert others == '"notes.all";r=2'
        assert response.headers.get_list("ratelimit-policy") == [
            '"notes.write";q=3;w=3600',
            '"notes.all";q=5;w=3600',
        ]
        refused = await client.post("/notes", headers={"x-client": "one"})
        body = problem(refused, 429)
        assert body["type"] == "urn:problem-type:quota-exceeded"
        assert body["violated-policies"] == ["notes.write"]
        assert 3600 - PATIENCE < int(refused.headers["retry-after"]) <= 3600
        assert refused.headers["ratelimit"].startswith('"notes.write";r=0;t=')
        assert refused.headers["ratelimit-policy"] == '"notes.write";q=3;w=3600'


async def test_clients_and_everybody_together_are_counted_apart(app: FastAPI) -> None:
    routes(app)
    async with served(app) as client:
        statuses = [
            (await client.post("/notes", headers={"x-client": name})).status_code
            for name in ("a", "b", "c", "d", "e", "f")
        ]
        assert statuses == [200] * 5 + [429]
        # The other route counts by address.
        assert (await client.get("/notes")).status_code == 200


@pytest.mark.parametrize("when_down", ["open", "closed"])
async def test_redis_down_lets_through_or_refuses(
    own_app: FastAPI, own_redis: OwnServer, when_down: str
) -> None:
    routes(own_app, when_down=when_down)
    async with served(own_app) as client:
        assert (await client.post("/notes")).status_code == 200
        own_redis.kill()
        for _ in range(10):
            response = await client.post("/notes")
            if when_down == "closed":
                body = problem(response, 503)
                assert body["detail"] == "Requests can't be counted now; try again."
                assert response.headers["retry-after"] == "1"
            else:
                assert response.status_code == 200
                assert "ratelimit" not in response.headers


@pytest.mark.standard("DL-RD-24")
@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ("fe80::1%eth0", "fe80::2", "2001:db8::1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("unnamed", "unnamed", "192.0.2.1"),
    ],
    ids=["global", "of a link", "IPv4", "no address"],
)
async def test_all_addresses_of_an_ipv6_network_are_one_client(
    app: FastAPI, one: str, same: str, other: str
) -> None:
    routes(app)

    async def read(host: str) -> int:
        transport = ASGITransport(app, client=(host, 1))
        async with AsyncClient(transport=transport, base_url="https://desk.example") as client:
            return (await client.get("/notes")).status_code

    async with app.router.lifespan_context(app):
        assert [await read(host) for host in (one, same, one)] == [200] * 3
        assert await read(same) == 429
        assert await read(other) == 200
