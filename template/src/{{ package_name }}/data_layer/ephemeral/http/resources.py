"""What is open while the application runs, and how a route gets it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends
from starlette.datastructures import State
from starlette.requests import HTTPConnection

from ..store import Store


@asynccontextmanager
async def ephemeral_resources(state: State) -> AsyncIterator[None]:
    """Open the store, and leave it in the state of the application.

    Redis is no probe of `/health/ready`: without it every request is still answered.
    """
    async with Store.open() as store:
        state.store = store
        yield


def store_of(connection: HTTPConnection) -> Store:
    """The store that the application opened when it started."""
    store: Store = connection.app.state.store
    return store


StoreDependency = Annotated[Store, Depends(store_of)]
