"""The cluster and the sentinels, which all tests share and find whole."""

import gc
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.layer.redis.servers import OwnServer, own_server

from .topologies import Cluster, Watched, cluster, watched


@pytest.fixture(autouse=True)
def _connections_to_broken_servers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the connections be that redis-py drops unclosed when a server goes, in no other test."""
    if {"own_redis", "three", "guarded"}.isdisjoint(request.fixturenames):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture
def own_redis() -> Iterator[OwnServer]:
    """A server that the test may stop, kill, fill and let hang."""
    with own_server() as server:
        yield server


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    with cluster() as three:
        yield three


@pytest.fixture(scope="session")
def _watched() -> Iterator[Watched]:
    with watched() as guarded:
        yield guarded


@pytest.fixture
def three(_cluster: Cluster) -> Cluster:
    """A cluster of three masters, with a service of this test's own; it may stop any of them."""
    _cluster.mend()
    return replace(_cluster, service=f"desk-{secrets.token_hex(3)}")


@pytest.fixture
def guarded(_watched: Watched) -> Watched:
    """A master behind sentinels, with a service of this test's own; it may kill the master."""
    _watched.mend()
    return replace(_watched, service=f"desk-{secrets.token_hex(3)}")
