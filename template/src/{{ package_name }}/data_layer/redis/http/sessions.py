"""Sessions in Redis: an opaque cookie, two ways to expire, and revocation that holds.

A session is valid while two keys say so: one leads from the cookie to the user, the other holds all
sessions of that user. The second decides, so that deleting it signs the user out everywhere, at
once; and whatever Redis evicts or forgets ends sessions and never revives one. Only a failover or a
loss of power, which undo the last writes, may undo a sign-out of that moment.
"""

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Response
from fastapi.requests import HTTPConnection
from fastapi_problem.error import ForbiddenProblem, UnauthorisedProblem
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ...http.problems import Unavailable
from ...settings import Settings, load
from ..connection import Client
from ..errors import RedisUnavailable
from ..jsonable import dumps
from ..keys import Key, TimeToLive, digest
from ..store import Store

COOKIE = "__Host-session"
"""The prefix makes browsers refuse it from subdomains, without TLS and for other paths."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SessionSettings(Settings):
    """`REDIS_SESSIONS_*`: how long people stay signed in.

    Attributes:
        idle: seconds without a request after which a session ends.
        absolute: seconds after the login at which it ends in any case.
        same_site: `lax` sends the cookie when somebody follows a link to this site, `strict` not
            even then.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_SESSIONS_")

    idle: int = Field(default=1800, ge=1, le=2_592_000)
    absolute: int = Field(default=43_200, ge=1, le=31_536_000)
    same_site: Literal["lax", "strict"] = "lax"


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
        user: who, as `login` was told.
        began: when.
        data: what `login` was given; what changes belongs into PostgreSQL.
    """

    user: str
    began: datetime
    data: dict[str, Any]


class Sessions:
    """Signs people in and out. Redis knows the hash of a cookie, never the cookie."""

    def __init__(self, store: Store, settings: SessionSettings | None = None) -> None:
        self._store = store
        self._settings = settings or load(SessionSettings)
        self._idle = self._settings.idle * 1000
        self._absolute = TimeToLive(timedelta(seconds=self._settings.absolute)).milliseconds
        self._login, self._visit = (
            store.client.register_script(Path(__file__).with_name(name).read_text(encoding="utf-8"))
            for name in ("login.lua", "visit.lua")
        )

    async def login(
        self, request: Request, response: Response, user: str, data: dict[str, Any] | None = None
    ) -> Session:
        """Begin a session, after the password or whatever else was checked.

        The cookie is always a new one, and the session of the request's cookie ends: whoever
        planted or saw the old one has nothing.

        Raises:
            NotJson: JSON has no such data; nobody is signed in.
            Unavailable: 503, Redis did not answer; nobody is signed in.
            CrossSite: 403, another site caused the request.
        """
        refuse_cross_site(request)
        written = dumps(data or {}, "The data of the session")
        await self._forget(request)
        token = secrets.token_urlsafe(32)
        name = _hash(token)
        arguments: list[str | int] = [name, written, self._idle, self._absolute]
        key, pointer = str(self._of_user(user)), str(self._of_cookie(name))
        began: int = await self._run(lambda _: self._login(keys=[key], args=arguments))
        await self._run(lambda client: client.set(pointer, user, px=self._absolute))
        response.set_cookie(
            COOKIE,
            token,
            max_age=self._settings.absolute,
            path="/",
            secure=True,
            httponly=True,
            samesite=self._settings.same_site,
        )
        response.headers["Cache-Control"] = "no-store"
        return Session(user, _time(began), data or {})

    async def find(self, request: HTTPConnection) -> Session | None:
        """The session of the request's cookie, which counts as used; None without a valid one.

        Raises:
            Unavailable: 503, it can't be known whether there is one.
        """
        token = request.cookies.get(COOKIE)
        if not token:
            return None
        name = _hash(token)
        user = await self._user_of(name)
        if user is None:
            return None
        key = str(self._of_user(user))
        arguments: list[str | int] = [name, self._idle, self._absolute]
        found = await self._run(lambda _: self._visit(keys=[key], args=arguments))
        if not found:
            return None
        began, data = found
        return Session(user, _time(began), json.loads(data))

    async def logout(self, request: Request, response: Response) -> None:
        """End the session of the request, if there is one, and take the cookie back.

        Raises:
            Unavailable: 503, it may not have ended.
        """
        name = await self._forget(request)
        response.delete_cookie(
            COOKIE, path="/", secure=True, httponly=True, samesite=self._settings.same_site
        )
        if name:
            response.headers["Clear-Site-Data"] = '"cache"'

    async def revoke_all(self, user: str) -> int:
        """End every session of the user, as after a change of the password; return how many.

        Raises:
            Unavailable: 503, they may not have ended.
        """
        key = str(self._of_user(user))

        async def revoke(client: Any) -> int:
            async with client.pipeline(transaction=True) as pipe:
                pipe.hlen(key)
                pipe.delete(key)
                count, _ = await pipe.execute()
            return int(count)

        count: int = await self._run(revoke)
        return count

    async def _run(self, operation: Callable[[Client], Awaitable[Any]]) -> Any:
        try:
            return await self._store.run(operation)
        except RedisUnavailable:
            raise Unavailable("Sessions can't be read or changed now; try again.") from None

    async def _forget(self, request: Request) -> str:
        """End the session of the request's cookie; return its name, empty without one."""
        token = request.cookies.get(COOKIE)
        if not token:
            return ""
        name = _hash(token)
        user = await self._user_of(name)
        if user is not None:
            key = str(self._of_user(user))
            await self._run(lambda client: client.hdel(key, name))
            pointer = str(self._of_cookie(name))
            await self._run(lambda client: client.delete(pointer))
        return name

    async def _user_of(self, name: str) -> str | None:
        pointer = str(self._of_cookie(name))
        user: bytes | None = await self._run(lambda client: client.get(pointer))
        return None if user is None else user.decode()

    def _of_cookie(self, name: str) -> Key:
        return self._store.key("session", name)

    def _of_user(self, user: str) -> Key:
        return self._store.key("sessions", digest(user))


async def sessions_of(connection: HTTPConnection) -> Sessions:
    """The sessions that the application opened when it started."""
    sessions: Sessions = connection.app.state.sessions
    return sessions


SessionsDependency = Annotated[Sessions, Depends(sessions_of)]


async def session_or_none(request: Request, sessions: SessionsDependency) -> Session | None:
    """The session of the request, or None for somebody who is not signed in.

    Raises:
        CrossSite: 403, a change that another site caused.
        Unavailable: 503, Redis can't say; nobody is taken for anonymous because of that.
    """
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
        raise CrossSite("This change was caused by another site, so it was not made.")


def _hash(token: str) -> str:
    # 256 random bits need no salt and no slow hash.
    return hashlib.sha256(token.encode()).hexdigest()


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
