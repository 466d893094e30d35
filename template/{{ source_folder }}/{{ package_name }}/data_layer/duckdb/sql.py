"""Texts for DuckDB's SQL: quoted names and strings, and files by their exact paths."""

import glob
from collections.abc import Iterable
from pathlib import Path


def literal(text: str) -> str:
    """A string literal for DuckDB, in places where it takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted name for DuckDB or PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def parquet(files: Iterable[Path]) -> str:
    """The table function that reads exactly these files and unites their columns by name."""
    # DuckDB treats every path that it reads as a pattern, and a folder `a=b` as a column `a`.
    paths = ", ".join(literal(glob.escape(str(file))) for file in files)
    return f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"


def first_line(error: Exception) -> str:
    """DuckDB's message, without the excerpt of the statement below it."""
    return str(error).strip().partition("\n")[0].rstrip(".")
