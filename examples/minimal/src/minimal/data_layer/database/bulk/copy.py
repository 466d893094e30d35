"""COPY in, within the transaction of a session."""

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format
from sqlalchemy import Dialect, Table
from sqlalchemy.orm import DeclarativeBase

from ... import tracing
from ..errors import RowRejected, Violation, violation_of
from ..session import ReadSession, WriteSession
from .rows import Rows, source
from .tables import identifier, joined, listed, table_of
from .wire import Column, Connection, columns_of


async def copy_in(
    session: WriteSession,
    table: Table | type[DeclarativeBase],
    rows: Rows,
    *,
    columns: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Append rows to a table by COPY, within the transaction of the session.

    Values are what the ORM would take for the same column, and None is always NULL. Defaults of
    the server fill the columns that are left out; defaults in Python do not run.

    Args:
        session: the session of the transaction; its pending changes are flushed before.
        table: a table or a model.
        rows: tuples, mappings with the same keys throughout, or an Arrow stream.
        columns: the columns that are written, in the order of the tuples. Without it: the names of
            an Arrow stream, the keys of the first mapping, or, for tuples, all columns of the
            table except generated and identity columns.
        progress: is called with the number of rows sent so far, every few thousand rows.

    Returns:
        The number of rows.

    Raises:
        RowRejected: a row does not fit the table or breaks a constraint. The transaction can then
            only be rolled back, to a savepoint around the call if there is one.
        UnknownColumn: a column is not in the table, or is generated.
    """
    target = table_of(table)
    await session.flush()
    names, batches = await source(target, rows, columns)
    if names is None:
        return 0
    with tracing.part(f"COPY {target.name}", kind="CLIENT"):
        return await copy_rows(session, target, identifier(target), names, batches, progress)


# What psycopg, a type of SQLAlchemy or a guard raises for a value that does not fit.
_UNFIT = (
    Violation,
    psycopg.DataError,
    psycopg.ProgrammingError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)


async def copy_rows(
    session: WriteSession,
    table: Table,
    destination: sql.Composable,
    names: Sequence[str],
    batches: AsyncIterator[list[Any]],
    progress: Callable[[int], None] | None = None,
) -> int:
    driver, dialect = await driver_of(session)
    columns, binary = await columns_of(driver, dialect, table, names)
    guarded = [(index, column.guard) for index, column in enumerate(columns) if column.guard]
    processed = [(index, column.process) for index, column in enumerate(columns) if column.process]
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        destination, joined(names), sql.SQL("BINARY" if binary else "TEXT")
    )
    count = 0
    try:
        async with driver.cursor() as cursor, cursor.copy(statement) as copy:
            if binary:
                copy.set_types([column.oid for column in columns])
            async for batch in batches:
                try:
                    prepared = _tuples(batch)
                    if not binary:
                        _check_lengths(prepared, names)
                    if processed:
                        prepared = list(map(list, prepared))
                    for index, process in processed:
                        for row in prepared:
                            if row[index] is not None:
                                row[index] = process(row[index])
                    for index, guard in guarded:
                        guard([row[index] for row in prepared])
                    # As `copy.write_row`, without a coroutine for each row.
                    for row in prepared:
                        if data := copy.formatter.write_row(row):
                            await copy.writer.write(data)
                except _UNFIT:
                    unfit = _unfit(driver, table, columns, batch, count, binary)
                    if unfit is None:
                        raise
                    # The driver's message quotes the value.
                    raise unfit from None
                count += len(batch)
                if progress is not None:
                    progress(count)
                # Rows from a list come without any await, so no other task would get its turn.
                await asyncio.sleep(0)
    except psycopg.Error as error:
        place = error.diag.context or ""
        if violation := violation_of(error):
            raise refused(table, violation, place) from error
        # The error's context quotes the row, for example when the load ran out of time.
        error.args = (error.diag.message_primary or str(error),)
        raise
    return count


def _tuples(batch: list[Any]) -> list[Any]:
    kinds = set(map(type, batch))
    if any(
        not issubclass(kind, Sequence) or issubclass(kind, (str, bytes, bytearray))
        for kind in kinds
    ):
        raise TypeError("it is not a tuple, as the first row is")
    return batch if kinds <= {tuple, list} else list(map(tuple, batch))


def _check_lengths(rows: list[Any], names: Sequence[str]) -> None:
    if set(map(len, rows)) != {len(names)}:
        raise ValueError(f"it must have {len(names)} values, for {listed(names)}")


def _unfit(
    driver: Connection,
    table: Table,
    columns: Sequence[Column],
    batch: list[Any],
    count: int,
    binary: bool,
) -> RowRejected | None:
    """Find the first row of a batch that doesn't fit; slow, so call it only when there is one."""
    names = [column.name for column in columns]
    for number, row in enumerate(batch, count + 1):
        where = f"Row {number} of the rows for {table.name} does not fit"
        try:
            [values] = _tuples([row])
            _check_lengths([values], names)
        except (TypeError, ValueError) as error:
            return RowRejected(f"{where}: {error}. Nothing of the load is written.", number)
        for column, value in zip(columns, values, strict=True):
            transformer = Transformer(driver)
            if binary:
                transformer.set_dumper_types([column.oid], Format.BINARY)
            try:
                sent = column.process(value) if column.process and value is not None else value
                if column.guard:
                    column.guard([sent])
                transformer.dump_sequence([sent], [PyFormat.BINARY if binary else PyFormat.TEXT])
            except _UNFIT:
                return RowRejected(
                    f"{where}: column {column.name} is {column.type}, which its value, of type "
                    f"{type(value).__name__}, does not fit. Nothing of the load is written.",
                    number,
                )
    return None


def refused(table: Table, violation: Violation, place: str = "") -> RowRejected:
    # "COPY trades, line 3, column price"; the words depend on the server's language.
    line = re.match(r"COPY .+?, \D*(\d+)(?:, \S+ ([^:]+))?", place)
    where = f"row {line[1]} of the rows" if line else "the rows"
    column = f", column {line[2]}" if line and line[2] else ""
    return RowRejected(
        f"The server refused {where} for {table.name}{column}: {violation} Nothing of the load is "
        "written.",
        int(line[1]) if line else None,
        why=violation,
    )


async def driver_of(session: ReadSession) -> tuple[Connection, Dialect]:
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    return cast("Connection", raw.driver_connection), connection.dialect
