"""Responses from the cache, with ETag, If-None-Match, Cache-Control and Vary (RFC 9110, 9111)."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict

from ..cache import Cache
from ..keys import digest
from ..policies import Policy

PERSONAL = ("Authorization", "Cookie")
_TAG = re.compile(r'(?:W/)?("[^"]*")')


class Representation(BaseModel):
    """A response body as JSON text, with its entity tag; the type of a policy for responses."""

    model_config = ConfigDict(frozen=True)

    body: str
    etag: str


async def respond(
    request: Request,
    policy: Policy[Representation],
    load: Callable[[], Awaitable[bytes]],
    *,
    identifier: str | None = None,
    max_age: int = 0,
    vary: Sequence[str] = (),
) -> Response:
    """Answer a GET from the application's cache, with 304 if the client has the response already.

    A request that says who sends it (`Authorization`, or any cookie) gets a response of its own:
    the cache neither serves nor keeps it, and no proxy may keep it. So a route that depends on the
    user by mistake never shows one user's data to another.

    Args:
        policy: how long the response is cached, and what invalidates it, as for any cached value.
        load: makes the JSON of the body, for instance by `TypeAdapter.dump_json`.
        identifier: identifies the response within the policy; by default the path, the query and
            the headers of `vary` do. Give one if a write must be able to invalidate the response.
        max_age: seconds that browsers and proxies may use it without asking; no invalidation
            reaches them. With 0 they ask each time, and mostly get 304.
        vary: headers of the request that `load` looks at, such as `Accept-Language`.
    """

    async def make() -> Representation:
        body = await load()
        return Representation(body=body.decode(), etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    cache: Cache = request.app.state.cache
    personal = any(name in request.headers for name in PERSONAL)
    if personal:
        found = await make()
        control = "private, no-cache"
    else:
        found = await cache.get(policy, identifier or _identifier(request, vary), make)
        control = f"public, max-age={max_age}" if max_age else "public, no-cache"
    headers = {
        "ETag": found.etag,
        "Cache-Control": control,
        "Vary": ", ".join((*PERSONAL, *vary)),
    }
    if _has(request, found.etag):
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type="application/json", headers=headers)


def _identifier(request: Request, vary: Sequence[str]) -> str:
    query = sorted(request.query_params.multi_items())
    varying = [(name.lower(), request.headers.getlist(name)) for name in vary]
    return digest(repr((request.url.path, query, varying)))


def _has(request: Request, etag: str) -> bool:
    sent = ",".join(request.headers.getlist("if-none-match"))
    # If-None-Match compares weakly: a proxy that compressed the body has weakened the tag.
    return sent.strip() == "*" or etag in _TAG.findall(sent)
