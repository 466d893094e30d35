"""Whether the existing files of an export can be united with its present columns."""

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from .columns import Plan
from .errors import DuckDBError
from .sql import first_line, parquet

# In each row, a type holds all values of the types before it.
_WIDENING = (("SMALLINT", "INTEGER", "BIGINT"), ("FLOAT", "DOUBLE"))
_DIGITS = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def conflicts(plan: Plan, files: Sequence[Path]) -> list[str]:
    """Say which columns of these files can't be united with the present columns of an export.

    For each column, a view takes the wider of the two types, and NULL where a file lacks it.

    Raises:
        DuckDBError: a file can't be read.
    """
    found = []
    with duckdb.connect() as connection:
        for file in files:
            stored = _types_in(connection, file)
            if plan.time not in stored:
                found.append(f"{file.name} has no column {plan.time}, which places its rows")
            found += [
                f"{name} is {kind}, and {stored[name]} in {file.name}"
                for name, kind in plan.types.items()
                if name in stored and not _united(kind, stored[name])
            ]
    return found


def unchanged(plan: Plan, file: Path) -> bool:
    """Whether a file has every column that an export has now, each with the same type.

    Raises:
        DuckDBError: the file can't be read.
    """
    with duckdb.connect() as connection:
        return plan.types.items() <= _types_in(connection, file).items()


def _types_in(connection: duckdb.DuckDBPyConnection, file: Path) -> dict[str, str]:
    try:
        described = connection.execute(f"DESCRIBE FROM {parquet([file])}").fetchall()
    except duckdb.Error as error:
        raise DuckDBError(
            f"{file.name} can't be read ({first_line(error)}); move it away, and export again "
            "with --since its first day."
        ) from None
    return {row[0]: row[1] for row in described}


def _united(one: str, other: str) -> bool:
    """Whether one of two types holds every value of both."""
    if one == other:
        return True
    if one.endswith("[]") and other.endswith("[]"):
        return _united(one[:-2], other[:-2])
    if (first := _DIGITS.fullmatch(one)) and (second := _DIGITS.fullmatch(other)):
        scales = int(second[2]) - int(first[2])
        # One of the two has at least as many digits as the other on both sides of the point.
        return scales * (int(second[1]) - int(first[1]) - scales) >= 0
    return any(one in types and other in types for types in _WIDENING)
