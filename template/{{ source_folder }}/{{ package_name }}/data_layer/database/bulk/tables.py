"""How a table and its columns are named in SQL and in sentences."""

from collections.abc import Iterable
from typing import cast

from psycopg import sql
from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase


def table_of(table: Table | type[DeclarativeBase]) -> Table:
    return table if isinstance(table, Table) else cast("Table", table.__table__)


def written_columns(table: Table) -> list[str]:
    """The columns of rows without names: all but generated and identity ones."""
    return [
        column.name
        for column in table.columns
        if column.computed is None and column.identity is None
    ]


def identifier(table: Table) -> sql.Identifier:
    return sql.Identifier(*filter(None, (table.schema, table.name)))


def joined(names: Iterable[str], qualifier: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*filter(None, (qualifier, name))) for name in names)


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)
