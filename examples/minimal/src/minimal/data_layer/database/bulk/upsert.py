"""An upsert of many rows by COPY into a staging table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import Dialect, Table
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.schema import (
    CallableColumnDefault,
    ColumnElementColumnDefault,
    ScalarElementColumnDefault,
)

from ... import tracing
from ..errors import RowRejected, UnknownColumn, violation_of
from ..session import WriteSession
from .copy import copy_rows, driver_of, refused
from .rows import Rows, source
from .tables import identifier, joined, listed, table_of

# A key of `MetaData.info`. There a module says, by the key of a table, which settings of the server
# an upsert into that table sets first.
UPSERT_SETTINGS = "data_layer.upsert_settings"


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an upsert did, in rows of the input after its duplicates were dropped."""

    inserted: int
    updated: int
    unchanged: int


async def upsert(
    session: WriteSession,
    table: Table | type[DeclarativeBase],
    rows: Rows,
    *,
    key: Sequence[str],
    columns: Sequence[str] | None = None,
    update: Sequence[str] | None = None,
) -> Upserted:
    """Insert the rows whose key is new and update those that differ, by COPY and a staging table.

    Of several rows with the same key, the last wins. A row that would not change is not rewritten,
    and it is locked only in a hypertable. An update does what an update by the ORM does: it counts
    `version` up and sets `updated_at`. Objects that the session has loaded before are not
    refreshed.

    Args:
        session: the session of the transaction; its pending changes are flushed before.
        table: a table or a model.
        rows: as in `copy_in`.
        key: the columns of the primary key or of a unique constraint.
        columns: as in `copy_in`; must hold the key.
        update: the columns that an update sets; all but the key when None, none when empty.

    Raises:
        RowRejected: as in `copy_in`; also when no unique constraint covers the key.
        UnknownColumn: as in `copy_in`.
    """
    target = table_of(table)
    await session.flush()
    names, batches = await source(target, rows, columns)
    if names is None:
        return Upserted(0, 0, 0)
    update = [name for name in names if name not in key] if update is None else update
    if not key:
        raise UnknownColumn(f"The upsert into {target.name} has no key; name its columns.")
    if missing := [name for name in (*key, *update) if name not in names]:
        raise UnknownColumn(
            f"The rows for {target.name} lack {listed(missing)}, which the upsert names as key or "
            "to be updated."
        )
    driver, dialect = await driver_of(session)
    # Each staging table has a name of its own, so that one transaction may hold several.
    staging = f"staging_{uuid4().hex}"
    parts = {
        "target": identifier(target),
        "name": sql.Identifier(target.name),
        "staging": sql.Identifier("pg_temp", staging),
        "position": sql.Identifier(f"position_{staging}"),
        "columns": joined(names),
        "key": joined(key),
        "key_given": sql.SQL(" AND ").join(
            sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in key
        ),
        "same_key": sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(
                sql.Identifier(target.name, name), sql.Identifier("staged", name)
            )
            for name in key
        ),
        "staged_key": joined(key, "staged"),
    }
    with tracing.part(f"upsert {target.name}", kind="CLIENT"):
        async with driver.cursor() as cursor:
            await cursor.execute(_CREATE_STAGING.format(**parts))
            count = await copy_rows(session, target, parts["staging"], names, batches)
            await cursor.execute(_DROP_DUPLICATES.format(**parts))
            count -= cursor.rowcount
            await cursor.execute(_HAS_CHUNKS, [identifier(target).as_string(driver)])
            has_chunks = await cursor.fetchone() is not None
            new = "excluded" if has_chunks else "staged"
            assignments = [
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(new, name))
                for name in update
            ]
            assignments += _touched(target, update, dialect) if update else []
            parts |= {
                "assignments": sql.SQL(", ").join(assignments),
                "old": joined(update, target.name),
                "new": joined(update, new),
            }
            try:
                if update and has_chunks:
                    settings = target.metadata.info.get(UPSERT_SETTINGS, {}).get(target.key, {})
                    for setting in settings.items():
                        await cursor.execute("SELECT set_config(%s, %s, true)", setting)
                    await cursor.execute(_UPSERT_CHUNKS.format(**parts))
                    inserted, updated = await cursor.fetchone() or (0, 0)
                else:
                    await cursor.execute(_INSERT_NEW.format(**parts))
                    inserted, updated = cursor.rowcount, 0
                    if update:
                        await cursor.execute(_UPDATE_DIFFERENT.format(**parts))
                        updated = cursor.rowcount
            except psycopg.errors.InvalidColumnReference as error:
                raise RowRejected(
                    f"No primary key or unique constraint of {target.name} covers exactly "
                    f"{listed(key)}; name such columns as the key of the upsert."
                ) from error
            except psycopg.Error as error:
                if violation := violation_of(error):
                    raise refused(target, violation) from error
                raise
            await cursor.execute(sql.SQL("DROP TABLE {staging}").format(**parts))
    return Upserted(inserted, updated, count - inserted - updated)


# CREATE TABLE AS keeps the types and drops the constraints, which the INSERT will check.
_CREATE_STAGING = sql.SQL(
    "CREATE TEMP TABLE {staging} ON COMMIT DROP AS SELECT {columns} FROM {target} WITH NO DATA; "
    "ALTER TABLE {staging} ADD COLUMN {position} bigint GENERATED ALWAYS AS IDENTITY"
)


# Rows with a NULL in their key are never duplicates to a unique constraint.
_DROP_DUPLICATES = sql.SQL(
    "DELETE FROM {staging} WHERE {position} IN (SELECT {position} FROM (SELECT {position}, "
    "row_number() OVER (PARTITION BY {key} ORDER BY {position} DESC) AS rank FROM {staging} "
    "WHERE {key_given}) AS ranked WHERE rank > 1)"
)


# Every statement locks in the order of the key, so that two upserts at once don't deadlock. One
# INSERT … DO UPDATE could not tell inserts from updates on a partitioned table.
_INSERT_NEW = sql.SQL(
    "INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {staging} "
    "ORDER BY {key} ON CONFLICT ({key}) DO NOTHING"
)


# `*<>` compares binary images: it sees any difference, also in types without equality, as json.
_UPDATE_DIFFERENT = sql.SQL(
    "UPDATE {target} SET {assignments} FROM (SELECT staged.* FROM {staging} AS staged "
    "JOIN {target} ON {same_key} WHERE (ROW({old}))::record *<> (ROW({new}))::record "
    "ORDER BY {staged_key} FOR UPDATE OF {name}) AS staged WHERE {same_key}"
)


# An UPDATE with a join turns every columnar chunk of a hypertable back into rows; an INSERT only
# touches the chunks of its own rows.
_HAS_CHUNKS = "SELECT FROM pg_class WHERE oid = %s::regclass AND relhassubclass AND relkind = 'r'"
_UPSERT_CHUNKS = sql.SQL(
    "WITH done AS (INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE "
    "SELECT {columns} FROM {staging} ORDER BY {key} "
    "ON CONFLICT ({key}) DO UPDATE SET {assignments} "
    "WHERE (ROW({old}))::record *<> (ROW({new}))::record RETURNING {name}.xmax = 0 AS inserted) "
    "SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM done"
)


def _touched(table: Table, update: Sequence[str], dialect: Dialect) -> list[sql.Composed]:
    """What an UPDATE of the ORM would set by itself: the version, the time."""
    assignments = []
    for column in table.columns:
        default = column.onupdate
        if default is None or column.name in update:
            continue
        value: sql.Composable
        match default:
            case ColumnElementColumnDefault():
                expression = default.arg.compile(
                    dialect=dialect, compile_kwargs={"literal_binds": True}
                )
                value = sql.SQL(expression.string)
            case CallableColumnDefault():
                value = sql.Literal(default.arg(cast("Any", None)))
            case ScalarElementColumnDefault():
                value = sql.Literal(default.arg)
            case _:
                continue
        assignments.append(sql.SQL("{} = {}").format(sql.Identifier(column.name), value))
    return assignments
