"""The cluster and the sentinels, which all tests share and find whole."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from .topologies import Cluster, Watched, cluster, watched


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
