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
from .sql import first_line

SPILL = "duckdb-spill-"


@contextmanager
def limited(settings: DuckDBSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that keeps to the settings and downloads nothing.

    Raises:
        DuckDBError: DuckDB or this machine refuses a setting.
    """
    config: dict[str, Any] = {
        "memory_limit": settings.memory_limit,
        "threads": str(settings.threads),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }
    # In one folder, two processes would overwrite each other's files.
    with (
        _spill(settings) as spill,
        _opened(config | {"temp_directory": str(spill)}) as connection,
    ):
        yield connection


@contextmanager
def _opened(config: dict[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        connection = duckdb.connect(config=config)
        # GLOBAL, since a cursor does not inherit the settings of its connection.
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
    except duckdb.Error as error:
        raise DuckDBError(
            f"DuckDB does not start with DUCKDB_MEMORY_LIMIT={config['memory_limit']} and "
            f"DUCKDB_THREADS={config['threads']}: {first_line(error)}"
        ) from None
    with connection:
        yield connection


@contextmanager
def _spill(settings: DuckDBSettings) -> Iterator[Path]:
    """A new folder, removed at the end; first remove the folders that killed processes left."""
    parent = settings.temp_directory or Path(tempfile.gettempdir())
    for left in parent.glob(f"{SPILL}*"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    try:
        new = Path(tempfile.mkdtemp(dir=parent))
    except OSError as error:
        raise DuckDBError(
            f"DUCKDB_TEMP_DIRECTORY, {parent}, can't be written ({error.strerror})."
        ) from None
    with _locked(new):
        # Renamed once it is locked: a folder of that name without a lock counts as abandoned.
        folder = new.rename(new.with_name(f"{SPILL}{new.name}"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder; the system frees the lock however this process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
