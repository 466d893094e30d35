"""Columns that a continuous aggregate gains in place, so that it keeps what it holds (DL-TS-05)."""

from sqlalchemy import Connection, Label, text
from sqlalchemy.exc import ProgrammingError

from . import catalog
from . import operations as ts
from .declarations import ContinuousAggregate, Hypertable, sql
from .operations import Call, call
from .state import quote


def gained(connection: Connection, aggregate: ContinuousAggregate, found: str) -> list[Call]:
    """Operations that add the columns which only the declared SELECT has, at its end.

    Empty if it equals the found one or differs in anything else, or if the types can't be known.
    """
    if catalog.canonical(connection, sql(aggregate.query)) == found:
        return []
    columns = list(aggregate.query.selected_columns)
    for kept in range(len(columns) - 1, 0, -1):
        shorter = aggregate.query.with_only_columns(*columns[:kept], maintain_column_froms=True)
        if catalog.canonical(connection, sql(shorter)) == found:
            types = _types(connection, aggregate)
            return [
                call(
                    ts.add_aggregate_column,
                    aggregate.name,
                    column.name,
                    types[column.name],
                    sql(column.element if isinstance(column, Label) else column),
                    schema=aggregate.schema,
                )
                for column in columns[kept:]
                if types
            ]
    return []


def _types(connection: Connection, aggregate: ContinuousAggregate) -> dict[str, str]:
    """The server's types of the selected columns, also of those that the same migration adds.

    The server derives them from temporary relations, which hide the real ones of the same names.
    """
    savepoint = connection.begin_nested()
    try:
        _declare(connection, aggregate)
        found = connection.execute(
            text(
                "SELECT attname AS name, format_type(atttypid, atttypmod) AS of_type"
                " FROM pg_attribute WHERE attnum > 0"
                " AND attrelid = to_regclass('pg_temp.' || quote_ident(:name))"
            ),
            {"name": aggregate.name},
        )
        return {row.name: row.of_type for row in found}
    except ProgrammingError:
        return {}
    finally:
        savepoint.rollback()


def _declare(connection: Connection, relation: Hypertable | ContinuousAggregate) -> None:
    if isinstance(relation, Hypertable):
        columns = ", ".join(
            f"{quote(column.name)} {column.type.compile(connection.dialect)}"
            for column in relation.table.columns
        )
        connection.execute(
            catalog.ddl(f"CREATE TEMPORARY TABLE {quote(relation.table.name)} ({columns})")
        )
        return
    _declare(connection, relation.source)
    view = f"CREATE TEMPORARY VIEW {quote(relation.name)} AS {sql(relation.query)}"
    connection.execute(catalog.ddl(view))
