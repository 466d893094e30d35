"""Load DuckDB's reader of PostgreSQL from its wheel; nothing is downloaded."""

import importlib.util
from pathlib import Path

import duckdb

from .errors import DuckDBError
from .settings import DuckDBSettings
from .sql import first_line, literal

_WHEEL = "duckdb_extension_postgres_scanner"
_FILE = "postgres_scanner.duckdb_extension"


def extension_file(settings: DuckDBSettings) -> Path:
    """The file of the extension, for this version of DuckDB.

    Raises:
        DuckDBError: the file does not exist.
    """
    if settings.extension is not None:
        if not settings.extension.is_file():
            raise DuckDBError(f"DUCKDB_EXTENSION names {settings.extension}, which is no file.")
        return settings.extension
    spec = importlib.util.find_spec(_WHEEL)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / _FILE
        if file.is_file():
            return file
    raise DuckDBError(
        f"DuckDB {duckdb.__version__} has no reader of PostgreSQL here: the wheel "
        f"duckdb-extension-postgres-scanner is {'of another version' if folders else 'missing'}. "
        "Install both in one version with `uv sync`, or name the file in DUCKDB_EXTENSION."
    )


def load(connection: duckdb.DuckDBPyConnection, settings: DuckDBSettings) -> None:
    """Load the extension.

    Raises:
        DuckDBError: the file does not exist, or was not made for this DuckDB.
    """
    file = extension_file(settings)
    try:
        connection.execute(f"LOAD {literal(str(file))}")
    except duckdb.Error as error:
        raise DuckDBError(
            f"DuckDB {duckdb.__version__} can't load {file.name}: {first_line(error)}. "
            "Install duckdb and duckdb-extension-postgres-scanner in one version."
        ) from None
