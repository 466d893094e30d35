"""Queries over the lake: a view for each export, read-only, within limits."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb

from .connection import limited
from .declarations import Export, exports
from .errors import DuckDBError
from .lake import Lake
from .sql import first_line, identifier, literal, parquet

_EXPLAIN = re.compile(r"\A\s*EXPLAIN\s+(ANALYZE\s+)?", re.IGNORECASE)


class Analysis:
    """A DuckDB that can read the lake and the folders of `DUCKDB_READABLE`, and nothing else.

    It can't write files, load extensions or reach the network. `analysis` makes it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, missing: Sequence[Export]) -> None:
        self._connection = connection
        self._missing = {export.name for export in missing}

    def query(self, statement: str, /, **parameters: Any) -> duckdb.DuckDBPyConnection:
        """Run one SELECT and return its result.

        Of the result, `fetchall()` gives rows, `to_arrow_table()` gives Arrow, and
        `to_arrow_reader()` gives Arrow in batches. Where they are installed, `pl()` gives a data
        frame of Polars and `df()` one of pandas.

        Args:
            statement: one SELECT; its parameters are written `$name`, with a type
                `CAST($name AS type)`.
            parameters: their values.

        Raises:
            DuckDBError: the statement is not a single SELECT, or DuckDB refuses it.
        """
        try:
            # EXPLAIN ANALYZE runs the statement that it explains, so check that statement.
            statements = duckdb.extract_statements(_EXPLAIN.sub("", statement))
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise DuckDBError(
                    "An analysis takes one SELECT; it changes no data, no settings and no files. "
                    "Results go back by write_back, or into a file by `export query --output`."
                )
            wanted = statements[0].named_parameters
            if wanted != parameters.keys():
                raise DuckDBError(
                    f"The statement has the parameters {_listed(wanted)}, and was given "
                    f"{_listed(parameters)}."
                )
            # A cursor of its own, so that a caller can read two results alternately.
            return self._connection.cursor().execute(statement, parameters or None)
        except duckdb.OutOfMemoryException as error:
            raise DuckDBError(
                f"The query needs more memory or disk than it may take ({first_line(error)}); "
                "raise DUCKDB_MEMORY_LIMIT, or read fewer columns and a shorter time."
            ) from error
        except duckdb.Error as error:
            raise DuckDBError(f"DuckDB refuses the query: {self._reason(error)}") from error

    def _reason(self, error: duckdb.Error) -> str:
        text = str(error).strip()
        for name in self._missing:
            if f"Table with name {name} does not exist" in text:
                return f"the export {name} has no file yet; run `export run {name}`."
        return text


@contextmanager
def analysis(lake: Lake, *, only: Sequence[Export] | None = None) -> Iterator[Analysis]:
    """Open the lake for queries. Serves "DuckDB queries in separate analysis process".

    Each export with a file becomes a view of that name. A long query blocks this process: run it
    in a process of its own, as `export query` does.

    Args:
        lake: where the files are, and the limits.
        only: the exports that become views; by default all declared ones.
    """
    missing = []
    with limited(lake.settings) as connection:
        folders = [str(folder) for folder in (lake.folder, *lake.settings.readable_folders())]
        # DuckDB checks a path twice: as it is written, and each file that the pattern finds.
        folders += [glob.escape(folder) for folder in folders]
        listed = ", ".join(literal(f"{folder}{os.sep}") for folder in folders)
        connection.execute(f"SET allowed_directories = [{listed}]")
        connection.execute("SET enable_external_access = false")
        for export in exports() if only is None else only:
            files = lake.files(export)
            if not files:
                missing.append(export)
                continue
            rows = parquet(file.path for file in files)
            connection.execute(f"CREATE VIEW {identifier(export.name)} AS FROM {rows}")
        connection.execute("SET lock_configuration = true")
        yield Analysis(connection, missing)


def _listed(names: Any) -> str:
    return ", ".join(f"${name}" for name in sorted(names)) or "none"
