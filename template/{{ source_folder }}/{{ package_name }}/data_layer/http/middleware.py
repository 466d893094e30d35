"""What happens to a request before its route: its id, HEAD, and bodies that are too large."""

import re
import secrets
from collections.abc import Callable
from http import HTTPMethod

from prometheus_fastapi_instrumentator.routing import get_route_name
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import logs, tracing

REQUEST_ID = b"x-request-id"
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-")

# The monitoring does not count itself.
UNCOUNTED = ("/metrics", "/health/")

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def methods_of(scope: Scope) -> list[str]:
    """The methods that some route takes at the path of the request; HEAD wherever GET is."""
    routes = scope["app"].router.routes
    taken = [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return sorted({*taken, "HEAD"}) if "GET" in taken else taken


def handler_of(scope: Scope) -> str | None:
    """The template of the request's route, or "none"; None for a request that is not counted.

    It needs the scope from before the request is handled: a mounted application changes it.
    """
    if scope["type"] != "http":
        return None
    handler = get_route_name(Request(scope), should_include_root_path=False) or "none"
    return None if handler.startswith(UNCOUNTED) else handler


def method_of(scope: Scope) -> str:
    """The method, or "other": a server lets any token through, and each would make a series."""
    method: str = scope["method"]
    return method if method in HTTPMethod.__members__ else "other"


class RequestId:
    """Gives each request an id, or takes the id in its header X-Request-ID, and answers with it.

    Where traces are sent, a request without that header from a traced program has the id of the
    trace.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))
        identifier = headers.get(REQUEST_ID, b"")
        if not _GIVEN.fullmatch(identifier):
            told = _TRACE.match(headers.get(b"traceparent", b"")) if tracing.is_on() else None
            identifier = told[1] if told else secrets.token_hex(16).encode()
        # The id is never reset: the server logs an error after this call, in the same task.
        logs.begin(identifier.decode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [header for header in message["headers"] if header[0] != REQUEST_ID]
                message["headers"] = [*others, (REQUEST_ID, identifier)]
            await send(message)

        await self._app(scope, receive, named)


class RequestSpan:
    """Makes a span of each request, by its route: path, query and headers hold client values."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = handler_of(scope)
        if handler is None:
            await self._app(scope, receive, send)
            return
        method = method_of(scope)
        about = {"http.request.method": method, "http.route": handler}
        carried = dict(Request(scope).headers)
        with tracing.span(f"{method} {handler}", about, kind="SERVER", carried=carried) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        tracing.failed(message["status"])
                await send(message)

            await self._app(scope, receive, noted)


class HeadAsGet:
    """Answers HEAD with the headers of the GET; your own route for HEAD is not called."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = False

        async def without_body(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})
                answered = True
            elif message.get("more_body"):
                # An event stream would go on for ever.
                raise ClientDisconnect

        try:
            await self._app({**scope, "method": "GET"}, receive, without_body)
        except ClientDisconnect:
            if not answered:
                raise


class BodyLimit:
    """Answers 413 to a body that is too large: at once if a header has its length, else on read."""

    def __init__(
        self, app: ASGIApp, largest: int, refuse: Callable[[Request, Exception], Response]
    ) -> None:
        self._app = app
        self._largest = largest
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if not length:
            await self._app(scope, self._counted(receive), send)
        elif int(length) > self._largest:
            await self._refuse(Request(scope), HTTPException(413))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._largest:
                raise HTTPException(413)
            return message

        return counted
