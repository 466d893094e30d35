"""Cached responses: shared where they may be, fresh where they must be, never somebody else's."""

from datetime import timedelta

import pytest
from fastapi import FastAPI, Request, Response
from pydantic import TypeAdapter

from my_project.data_layer.redis import TimeToLive
from my_project.data_layer.redis.http import Representation, respond
from my_project.data_layer.redis.policies import Computed, Source
from tests.layer.redis.servers import OwnServer
from tests.layer.redis.waiting import Transaction

from .conftest import served

NOTES = Source("http-test-notes")
PAGE = Computed("http-test-page", Representation, TimeToLive(timedelta(minutes=1)), of=(NOTES,))
JSON = TypeAdapter(dict[str, str])


class Backend:
    """What the response is made from, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.text = "first"


def routes(app: FastAPI, *, max_age: int = 0) -> Backend:
    backend = Backend()

    @app.get("/notes/{number}")
    async def notes(number: int, request: Request) -> Response:
        async def load() -> bytes:
            backend.asked += 1
            language = request.headers.get("accept-language", "en")
            user = request.headers.get("authorization", "nobody")
            found = {"text": backend.text, "language": language, "user": user}
            return JSON.dump_json({**found, "query": str(request.query_params)})

        return await respond(request, PAGE, load, max_age=max_age, vary=["Accept-Language"])

    return backend


async def test_a_response_is_made_once_and_revalidated(app: FastAPI) -> None:
    backend = routes(app)
    async with served(app) as client:
        first = await client.get("/notes/1")
        assert first.headers["cache-control"] == "public, no-cache"
        assert first.headers["vary"] == "Authorization, Cookie, Accept-Language"
        assert first.headers["content-type"] == "application/json"
        etag = first.headers["etag"]
        for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await client.get("/notes/1", headers={"if-none-match": sent})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
            assert again.headers["vary"] == first.headers["vary"]
        other = await client.get("/notes/1", headers={"if-none-match": '"other"'})
        assert other.json() == first.json()
        assert backend.asked == 1


async def test_a_change_of_the_source_makes_a_new_response(app: FastAPI) -> None:
    backend = routes(app)
    async with served(app) as client:
        before = await client.get("/notes/1")
        backend.text = "second"
        async with Transaction() as session:
            app.state.cache.changed(session, NOTES)
        after = await client.get("/notes/1", headers={"if-none-match": before.headers["etag"]})
        assert after.status_code == 200
        assert after.json()["text"] == "second"
        assert after.headers["etag"] != before.headers["etag"]


@pytest.mark.standard("DL-RD-27")
@pytest.mark.parametrize("header", ["authorization", "cookie"])
async def test_a_personal_response_is_never_shared(app: FastAPI, header: str) -> None:
    backend = routes(app, max_age=60)
    async with served(app) as client:
        public = await client.get("/notes/1")
        assert public.headers["cache-control"] == "public, max-age=60"
        alice = await client.get("/notes/1", headers={header: "alice"})
        bob = await client.get("/notes/1", headers={header: "bob"})
        nobody = await client.get("/notes/1")
        assert alice.headers["cache-control"] == bob.headers["cache-control"] == "private, no-cache"
        assert backend.asked == 3
        assert nobody.json() == public.json()
        if header == "authorization":
            assert [one.json()["user"] for one in (alice, bob, nobody)] == [
                "alice",
                "bob",
                "nobody",
            ]
        same = await client.get(
            "/notes/1", headers={header: "bob", "if-none-match": bob.headers["etag"]}
        )
        assert same.status_code == 304


async def test_what_a_response_varies_by_tells_responses_apart(app: FastAPI) -> None:
    backend = routes(app)
    async with served(app) as client:
        seen = set()
        for path, language in (
            ("/notes/1", "en"),
            ("/notes/1", "de"),
            ("/notes/2", "en"),
            ("/notes/1?a=1&b=2", "en"),
            ("/notes/1?a=1%26b=2", "en"),
            ("/notes/1?a=1&a=2", "en"),
        ):
            response = await client.get(path, headers={"accept-language": language})
            assert response.json()["language"] == language
            seen.add((path, language))
        assert backend.asked == len(seen)
        # The order of the query says nothing.
        await client.get("/notes/1?b=2&a=1", headers={"accept-language": "en"})
        assert backend.asked == len(seen)


async def test_redis_down_is_not_noticed(own_app: FastAPI, own_redis: OwnServer) -> None:
    routes(own_app)
    async with served(own_app) as client:
        own_redis.kill()
        for _ in range(10):
            assert (await client.get("/notes/1")).status_code == 200
