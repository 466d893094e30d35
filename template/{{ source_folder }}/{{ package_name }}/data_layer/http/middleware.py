"""What happens to a request before its route: its id, HEAD, and bodies that are too large."""

import re
from collections.abc import Callable
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import logs

REQUEST_ID = b"x-request-id"
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")

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


class RequestId:
    """Gives each request an id, or takes that of its header X-Request-ID, and answers with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
        identifier = given if _GIVEN.fullmatch(given) else uuid4().hex.encode()
        # For good: what the server says of an error comes after this call, in the same task.
        logs.begin(identifier.decode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [header for header in message["headers"] if header[0] != REQUEST_ID]
                message["headers"] = [*others, (REQUEST_ID, identifier)]
            await send(message)

        await self._app(scope, receive, named)


class HeadAsGet:
    """Answers HEAD with the headers of the GET; a route for HEAD of your own is not asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
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
    """Answers 413 to a body that is too large: at once when its length is told, else when read."""

    def __init__(
        self, app: ASGIApp, largest: int, refuse: Callable[[Request, Exception], Response]
    ) -> None:
        self._app = app
        self._largest = largest
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
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
