"""What is open while the application runs, and how a route gets it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from ..cache import Cache
from ..store import Store
from .metrics import CacheCollector


@asynccontextmanager
async def ephemeral_resources(state: Any) -> AsyncIterator[None]:
    """Open the store and the cache, and leave them in the state of the application.

    Redis is no probe of `/health/ready`: without it every request is still answered.
    """
    async with Store.open() as store, Cache.open(store) as cache:
        collector = CacheCollector(cache)
        state.store, state.cache = store, cache
        state.metrics.register(collector)
        try:
            yield
        finally:
            state.metrics.unregister(collector)


def store_of(connection: HTTPConnection) -> Store:
    """The store that the application opened when it started."""
    store: Store = connection.app.state.store
    return store


def cache_of(connection: HTTPConnection) -> Cache:
    """The cache that the application opened when it started."""
    cache: Cache = connection.app.state.cache
    return cache


StoreDependency = Annotated[Store, Depends(store_of)]
CacheDependency = Annotated[Cache, Depends(cache_of)]
