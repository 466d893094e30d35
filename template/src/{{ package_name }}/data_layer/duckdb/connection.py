"""Connections to DuckDB: limited in memory, threads and disk, and closed to the network."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from .errors import DuckDBError
from .settings import DuckDBSettings

SPILL = "duckdb-spill-"


@contextmanager
def limited(settings: DuckDBSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that keeps to the settings and downloads nothing.

    Raises:
        DuckDBError: a setting is not what DuckDB or this machine takes.
    """
    config: dict[str, Any] = {
        "memory_limit": settings.memory_limit,
        "threads": str(settings.threads),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }
    # In one folder, two processes would overwrite each other's files.
    with _spill(settings) as spill:
        connection = duckdb.connect(config=config | {"temp_directory": str(spill)})
        try:
            # GLOBAL, since a cursor does not take over what its connection has set.
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            yield connection
        finally:
            connection.close()


@contextmanager
def _spill(settings: DuckDBSettings) -> Iterator[Path]:
    """A folder of its own, removed at the end; first remove what killed processes left."""
    parent = settings.temp_directory or Path(tempfile.gettempdir())
    for left in parent.glob(f"{SPILL}*"):
        with suppress(OSError):
            _remove(left, _lock(left))
    try:
        folder, lock = _made(parent)
    except OSError as error:
        raise DuckDBError(
            f"DUCKDB_TEMP_DIRECTORY, {parent}, can't be written ({error.strerror})."
        ) from None
    try:
        yield folder
    finally:
        _remove(folder, lock)


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=SPILL, dir=parent))
        # Until it is locked, another process may take it for one that a killed process left.
        with suppress(FileNotFoundError, BlockingIOError):
            return folder, _lock(folder)


def _lock(folder: Path) -> int:
    """Lock a folder; the system frees the lock however this process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
