"""Texts for DuckDB's SQL: quoted names and strings, and files by their exact paths."""

import glob
from collections.abc import Iterable
from pathlib import Path


def literal(text: str) -> str:
    """A string of DuckDB, where it takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name of DuckDB or PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def parquet(files: Iterable[Path]) -> str:
    """The table function that reads exactly these files and unites their columns by name."""
    # DuckDB takes every path that it reads for a pattern, and a folder `a=b` for a column `a`.
    paths = ", ".join(literal(glob.escape(str(file))) for file in files)
    return f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"


def first_line(error: Exception) -> str:
    """What DuckDB says, without the excerpt of the statement below it."""
    return str(error).strip().partition("\n")[0].rstrip(".")
