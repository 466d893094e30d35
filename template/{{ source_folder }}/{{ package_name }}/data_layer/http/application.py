"""The application with the data layer behind it: the database, the problems, health, metrics."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request

from .. import logs, tracing, wiring
from ..database import Database, DatabaseSettings
from ..settings import InvalidSettings, load
from . import health, metrics, problems
from .middleware import BodyLimit, HeadAsGet, RequestId, RequestSpan
from .settings import HttpSettings


def create_api(
    title: str,
    *,
    settings: DatabaseSettings | None = None,
    refusals: Mapping[type[Exception], int] | None = None,
) -> FastAPI:
    """An application that opens the database when it starts; include your routers in it.

    A database that is down does not stop it from starting: `/health/live` answers, `/health/ready`
    says what is missing, and requests succeed as soon as the database is back. A router of yours
    that was made with `lifespan=` opens after the database and closes before it.

    Args:
        title: the name in the OpenAPI documents.
        settings: read from the environment and `.env` when left out.
        refusals: errors of the domain whose message is meant for the client, with their status.

    Raises:
        SystemExit: a setting is missing or wrong; the message names it.
    """
    try:
        logs.configure(text=False)
    except InvalidSettings as error:
        raise SystemExit(str(error)) from None
    # A redirect would repeat the raw path as a metric's label: one time series for each order.
    app = FastAPI(title=title, redirect_slashes=False)
    install(app, settings=settings, refusals=refusals)
    return app


def install(
    app: FastAPI,
    *,
    settings: DatabaseSettings | None = None,
    refusals: Mapping[type[Exception], int] | None = None,
) -> None:
    """Give an existing application the database, the problems, health and metrics.

    The application's lifespan runs within the database's. Error handlers that the application adds
    after this call win, and so do routes `/health/…` and `/metrics` that it had before. The
    arguments are those of `create_api`.

    Raises:
        SystemExit: a setting is missing or wrong; the message names it.
    """
    try:
        chosen = settings or load(DatabaseSettings)
        largest = load(HttpSettings).max_body_size
        tracing.configure()
    except InvalidSettings as error:
        # Any other exception of a factory reaches the person as the server's traceback.
        raise SystemExit(str(error)) from None
    theirs = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with Database.open(chosen) as database, wiring.resources(app.state) as probes:
            readiness = health.Readiness({"postgresql": partial(health.ping, database), **probes})
            app.state.database = database
            app.state.readiness = readiness
            try:
                async with theirs(app) as state:
                    yield state
            finally:
                await readiness.close()
                await asyncio.to_thread(tracing.flush)

    app.router.lifespan_context = lifespan
    refuse = problems.install(app, refusals)
    app.add_middleware(BodyLimit, largest=largest, refuse=refuse)
    metrics.install(app)
    if tracing.is_on():
        app.add_middleware(RequestSpan)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestId)
    app.include_router(health.router)


# FastAPI would run a plain function on a thread, which costs more than the rest of a request.
async def database_of(request: Request) -> Database:
    """The database that the application opened when it started."""
    database: Database = request.app.state.database
    return database


DatabaseDependency = Annotated[Database, Depends(database_of)]
"""The dependency of every route that reads or writes; the route opens its own transaction.

A dependency that commits after its `yield` would commit when the answer is already on its way, and
a commit that fails would look like a success.
"""
