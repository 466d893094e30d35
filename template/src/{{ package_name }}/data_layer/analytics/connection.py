"""Connections to DuckDB: limited in memory, threads and disk, and closed to the network."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from .errors import AnalyticsError
from .settings import AnalyticsSettings

SPILL = "duckdb-spill-"


@contextmanager
def limited(settings: AnalyticsSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that keeps to the settings and downloads nothing.

    Raises:
        AnalyticsError: a setting is not what DuckDB or this machine takes.
    """
    config: dict[str, Any] = {
        "memory_limit": settings.memory_limit,
        "threads": str(settings.threads),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }
    try:
        spill = Path(tempfile.mkdtemp(prefix=SPILL, dir=settings.temp_directory))
    except OSError as error:
        raise AnalyticsError(
            f"ANALYTICS_TEMP_DIRECTORY, {settings.temp_directory}, can't be written "
            f"({error.strerror})."
        ) from None
    try:
        # A folder for each: two processes would overwrite each other's files in one.
        connection = duckdb.connect(config=config | {"temp_directory": str(spill)})
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            yield connection
        finally:
            connection.close()
    finally:
        shutil.rmtree(spill, ignore_errors=True)
