"""Sessions in Redis: an opaque cookie, two ways to expire, and revocation that holds.

One key holds a session, another the mark of its user; a session is valid while it carries that
mark. So deleting the mark signs the user out everywhere, at once. If Redis evicts or forgets a key,
sessions end, and none is ever revived. Only a failover or a loss of power, which undo the last
writes, may undo a sign-out of that moment.
"""

import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.requests import HTTPConnection
from fastapi_problem.error import ForbiddenProblem, UnauthorisedProblem

from ...http.problems import Unavailable
from ...settings import load
from ..connection import Client
from ..errors import RedisUnavailable
from ..jsonable import dumps
from ..keys import TimeToLive, digest
from ..settings import SessionSettings
from ..store import Store

COOKIE = "__Host-session"
"""Because of the prefix, browsers refuse it from subdomains, without TLS and for other paths."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class NotSignedIn(UnauthorisedProblem):
    """401: there is no session, or it has ended."""

    type_ = "not-signed-in"
    title = "Not signed in"


class CrossSite(ForbiddenProblem):
    """403: another site made the browser send this request."""

    type_ = "cross-site-request"
    title = "Cross-site request"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in.

    Attributes:
        user: the user, as given to `login`.
        began: when the session began.
        data: the data given to `login`; data that changes belongs into PostgreSQL.
    """

    user: str
    began: datetime
    data: dict[str, Any]


class Sessions:
    """Signs people in and out. Redis knows the hash of a cookie, never the cookie.

    Every method raises `Unavailable` (503) while Redis does not answer. Nobody can sign in then, no
    session is found, and somebody who signs out may still be signed in.
    """

    def __init__(self, store: Store, settings: SessionSettings | None = None) -> None:
        self._store = store
        self._settings = settings or load(SessionSettings)
        self._idle = TimeToLive(timedelta(seconds=self._settings.idle))
        self._absolute = TimeToLive(timedelta(seconds=self._settings.absolute))

    async def login(
        self, request: Request, response: Response, user: str, data: dict[str, Any] | None = None
    ) -> Session:
        """Begin a session, after the password or whatever else was checked.

        The cookie is always a new one, and the session of the request's cookie ends, so whoever
        planted or saw the old cookie can do nothing with it.

        Raises:
            NotJson: JSON has no such data; nobody is signed in.
            CrossSite: 403, another site caused the request.
        """
        refuse_cross_site(request)
        session = Session(user, datetime.now(UTC), data or {})
        dumps(session.data, "The data of the session")
        await self._forget(request)
        token = secrets.token_urlsafe(32)

        async def begin(client: Client) -> None:
            mark, fresh = self._mark(user), secrets.token_hex(8)
            pipeline = client.pipeline(transaction=False)
            pipeline.set(mark, fresh, nx=True, get=True, px=self._absolute.milliseconds)
            pipeline.pexpire(mark, self._absolute.milliseconds)
            there, _ = await pipeline.execute()
            kept = {"mark": there.decode() if there else fresh, "session": session}
            await client.set(
                self._key(token), dumps(kept, "The session"), px=self._idle.milliseconds
            )

        await self._run(begin)
        response.set_cookie(COOKIE, token, max_age=self._settings.absolute, **self._flags())
        response.headers["Cache-Control"] = "no-store"
        return session

    async def find(self, request: HTTPConnection) -> Session | None:
        """The session of the request's cookie, which counts as used; None without a valid one."""
        token = request.cookies.get(COOKIE)
        if not token:
            return None
        key = self._key(token)
        stored = await self._run(lambda client: client.getex(key, px=self._idle.milliseconds))
        if stored is None:
            return None
        kept = json.loads(stored)
        user, began = kept["session"]["user"], datetime.fromisoformat(kept["session"]["began"])
        mark = await self._run(lambda client: client.get(self._mark(user)))
        if mark != kept["mark"].encode() or datetime.now(UTC) - began >= self._absolute.value:
            return None
        return Session(user, began, kept["session"]["data"])

    async def logout(self, request: Request, response: Response) -> None:
        """End the session of the request, if there is one, and delete the cookie."""
        await self._forget(request)
        response.delete_cookie(COOKIE, **self._flags())
        if COOKIE in request.cookies:
            response.headers["Clear-Site-Data"] = '"cache"'

    async def revoke_all(self, user: str) -> None:
        """End every session of the user, as after a change of the password."""
        await self._run(lambda client: client.delete(self._mark(user)))

    async def _forget(self, request: Request) -> None:
        if token := request.cookies.get(COOKIE):
            key = self._key(token)
            await self._run(lambda client: client.delete(key))

    async def _run(self, operation: Callable[[Client], Awaitable[Any]]) -> Any:
        try:
            return await self._store.run(operation)
        except RedisUnavailable:
            raise Unavailable("Sessions can't be read or changed now; try again.") from None

    def _flags(self) -> dict[str, Any]:
        same_site = self._settings.same_site
        return {"path": "/", "secure": True, "httponly": True, "samesite": same_site}

    def _key(self, token: str) -> str:
        # 256 random bits need no salt and no slow hash.
        return str(self._store.key("session", digest(token)))

    def _mark(self, user: str) -> str:
        return str(self._store.key("session-mark", digest(user)))


async def session_or_none(request: Request) -> Session | None:
    """The session of the request, or None for somebody who is not signed in.

    Raises:
        CrossSite: 403, a change that another site caused.
        Unavailable: 503, Redis does not answer; nobody counts as anonymous because of that.
    """
    sessions: Sessions = request.app.state.sessions
    session = await sessions.find(request)
    if session is not None:
        refuse_cross_site(request)
    return session


OptionalSession = Annotated[Session | None, Depends(session_or_none)]
"""The dependency of routes that also serve people who are not signed in."""


async def session_required(session: OptionalSession) -> Session:
    """The session of the request.

    Raises:
        NotSignedIn: 401.
    """
    if session is None:
        raise NotSignedIn("Sign in; the session has ended, or there was none.")
    return session


SessionRequired = Annotated[Session, Depends(session_required)]
"""The dependency of routes for people who are signed in."""


def refuse_cross_site(request: Request) -> None:
    """Refuse a change that another site made the browser send.

    Raises:
        CrossSite: 403.
    """
    # SameSite stops most of this, but not another subdomain of the same site.
    if request.method in SAFE_METHODS:
        return
    fetch_site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if fetch_site is not None:
        trusted = fetch_site in {"same-origin", "none"}
    else:
        # Browsers send at least one of the two with a change; other programs send no cookie
        # that they were not given.
        trusted = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not trusted:
        raise CrossSite("Another site caused this change, so it was not made.")
