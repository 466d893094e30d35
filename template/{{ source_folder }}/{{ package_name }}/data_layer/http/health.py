"""Liveness and readiness: is this process alive, and which of its dependencies answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import literal, select

from ..database import Database
from ..errors import DataLayerError
from .problems import NotReady, documented

logger = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[object]]
"""Asks one dependency: returns if the dependency answers, and raises if it does not."""


class Health(BaseModel):
    """Which dependencies answer, by name. The log says why one doesn't: strangers may ask."""

    dependencies: dict[str, bool]


async def ping(database: Database) -> None:
    """One round trip to PostgreSQL through the pool, as every request makes it."""
    async with database.read_only() as session:
        await session.execute(select(literal(1)))


class Readiness:
    """Asks all probes at once and answers within `timeout` seconds, whatever the probes do.

    A late probe is cancelled, but nobody waits for its end: ending a statement on a server that
    hangs takes longer than a load balancer waits. While a probe winds down, it is not started a
    second time, so that frequent requests can't drain the connection pool.
    """

    def __init__(self, probes: Mapping[str, Probe], *, timeout: float = 2.0) -> None:
        self._probes = probes
        self._timeout = timeout
        self._running: dict[str, asyncio.Future[object]] = {}

    async def health(self) -> Health:
        """Which dependencies answer, now."""
        answers = await asyncio.gather(*(self._answers(name) for name in self._probes))
        return Health(dependencies=dict(zip(self._probes, answers, strict=True)))

    async def close(self) -> None:
        """Cancel the probes that still run and wait until they have let go of their connections."""
        for running in self._running.values():
            running.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _answers(self, name: str) -> bool:
        running = self._running.get(name)
        if running is None or running.done():
            running = self._running[name] = asyncio.ensure_future(self._probes[name]())
            # Nobody else reads the error of a late probe, and the event loop logs an unread one.
            running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait({running}, timeout=self._timeout)
        error = self._error(name, running)
        if error:
            logger.warning("not ready: %s: %s", name, error)
        return not error

    def _error(self, name: str, running: asyncio.Future[object]) -> str:
        if not running.done():
            running.cancel()
            return f"{name} did not answer within {self._timeout:g} seconds."
        if running.cancelled():
            return f"{name} did not answer the probe before this one in time."
        match running.exception():
            case None:
                return ""
            case DataLayerError() as error:
                return str(error)
            case error:
                # A driver's message may quote the URL; the type is all that is safe to log.
                return f"The probe of {name} failed with {type(error).__name__}."


router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, bool]:
    """The process answers; nothing else is asked, so a database that is down restarts nobody."""
    return {"alive": True}


@router.get("/ready", responses=documented(NotReady))
async def ready(request: Request) -> Health:
    """Which dependencies answer; 503 with the same names while one of them does not."""
    readiness: Readiness = request.app.state.readiness
    health = await readiness.health()
    down = [name for name, answers in health.dependencies.items() if not answers]
    if down:
        raise NotReady(f"These do not answer: {', '.join(down)}.", **health.model_dump())
    return health
