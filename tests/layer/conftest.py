"""Servers and folders that a deep test may break."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from my_project.data_layer.devservers.postgresql import EmbeddedServer, embedded_server


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "native: wants a TimescaleDB with background workers and several sessions"
    )
    config.addinivalue_line("markers", "long: what other tests prove in part; wants TEST_LONG")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "TEST_LONG" in os.environ:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that the test may stop and kill."""
    with embedded_server() as server:
        yield server


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user may enter, as a server needs that runs as another user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
