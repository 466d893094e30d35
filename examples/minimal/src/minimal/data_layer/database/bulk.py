"""Many rows at once: COPY in, COPY out, and an upsert through a staging table (DL-SQL-02)."""

import asyncio
import importlib
import re
import struct
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.adapt import PyFormat, Transformer
from psycopg.postgres import types as builtin
from psycopg.pq import Format
from sqlalchemy import Boolean, Dialect, LargeBinary, SelectBase, Table, select
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.schema import (
    CallableColumnDefault,
    ColumnElementColumnDefault,
    ScalarElementColumnDefault,
)

from ..errors import DataLayerError
from .session import ReadSession, WriteSession

Row: TypeAlias = Sequence[Any] | Mapping[str, Any]
Connection: TypeAlias = psycopg.AsyncConnection[Any]


@runtime_checkable
class ArrowStream(Protocol):
    """Whatever exports an Arrow stream: a pyarrow Table or RecordBatchReader, a polars frame."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Rows: TypeAlias = Iterable[Row] | AsyncIterable[Row] | ArrowStream

# Rows between two looks at the event loop: a few milliseconds.
BATCH = 5_000


class RowRejected(DataLayerError):
    """A row does not fit its table; nothing of the load is written.

    Attributes:
        row: which row of the input, counted from 1; None when the server did not say.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class UnknownColumn(DataLayerError):
    """A column was named that the table does not have, or that can't be written."""


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an upsert did, in rows of the input after its duplicates were dropped."""

    inserted: int
    updated: int
    unchanged: int


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
        session: the session of the transaction; what is pending in it is flushed before.
        table: a table or a model.
        rows: tuples, mappings with the same keys throughout, or an Arrow stream.
        columns: the columns that are written, in the order of the tuples. Without it: the names of
            an Arrow stream, the keys of the first mapping, or, for tuples, all columns of the
            table but generated and identity ones.
        progress: is called with the number of rows sent so far, every few thousand rows.

    Returns:
        The number of rows.

    Raises:
        RowRejected: a row does not fit the table or breaks a constraint. The transaction can then
            only be rolled back, to a savepoint around the call if there is one.
        UnknownColumn: a column is not in the table, or is generated.
    """
    target = _table(table)
    await session.flush()
    names, batches = await _source(target, rows, columns)
    if names is None:
        return 0
    driver, dialect = await _driver(session)
    return await _copy(driver, dialect, target, _identifier(target), names, batches, progress)


async def copy_out(
    session: ReadSession, query: SelectBase | Table | type[DeclarativeBase]
) -> AsyncGenerator[tuple[Any, ...], None]:
    """Stream the rows of a query, a table or a model by COPY, in constant memory.

    A row is a tuple of column values, of the types that the ORM would give; an entity in a
    `select` becomes its columns. The session can do nothing else until the stream has ended; who
    leaves it early wraps it in `contextlib.aclosing`.

    Args:
        session: the session of the transaction; what is pending in it is flushed before.
        query: what to read; its parameters are bound.

    Yields:
        One tuple for each row.
    """
    statement = query if isinstance(query, SelectBase) else select(_table(query))
    await session.flush()
    driver, dialect = await _driver(session)
    state = statement.compile(dialect=dialect).construct_expanded_state()
    parameters = {
        name: process(value) if callable(process := state.processors.get(name)) else value
        for name, value in state.parameters.items()
    }
    async with driver.cursor() as cursor:
        # COPY does not tell the types of its columns; the same query without rows does.
        described = f"SELECT * FROM ({state.statement}) AS described LIMIT 0"  # noqa: S608
        await cursor.execute(described.encode(), parameters)
        declared = [column.type_code for column in cursor.description or ()]
        types = await _wire_types(
            driver, declared, lambda oid: driver.adapters.get_loader(oid, Format.BINARY)
        )
        processors = [
            column.type.dialect_impl(dialect).result_processor(dialect, oid)
            for column, oid in zip(statement.selected_columns, declared, strict=True)
        ]
        processed = any(processors)
        # With parameters psycopg turns %% into %; without, the text goes as it is.
        text = state.statement if parameters else state.statement.replace("%%", "%")
        copy_statement = f"COPY ({text}) TO STDOUT (FORMAT {'BINARY' if types else 'TEXT'})"
        # Leaving early cancels the COPY, which must not cost the whole transaction.
        async with (
            (await session.connection()).begin_nested(),
            cursor.copy(copy_statement.encode(), parameters) as copy,
        ):
            copy.set_types(types or declared)
            # `copy.rows()` would be one more generator for each row to pass through.
            while (row := await copy.read_row()) is not None:
                if processed:
                    row = tuple(
                        process(value) if process is not None else value
                        for process, value in zip(processors, row, strict=True)
                    )
                yield row


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

    Of several rows with one key the last wins. A row that is the same already is neither rewritten
    nor locked. An update does what the ORM's would: it counts `version` up and sets `updated_at`.
    Objects that the session has loaded before are not refreshed.

    Args:
        session: the session of the transaction; what is pending in it is flushed before.
        table: a table or a model.
        rows: as in `copy_in`.
        key: the columns of the primary key or of a unique constraint.
        columns: as in `copy_in`; must hold the key.
        update: the columns that an update sets; all but the key when None, none when empty.

    Raises:
        RowRejected: as in `copy_in`; also when no unique constraint covers the key.
        UnknownColumn: as in `copy_in`.
    """
    target = _table(table)
    await session.flush()
    names, batches = await _source(target, rows, columns)
    if names is None:
        return Upserted(0, 0, 0)
    update = [name for name in names if name not in key] if update is None else update
    if not key:
        raise UnknownColumn(f"The upsert into {target.name} has no key; name its columns.")
    if missing := [name for name in (*key, *update) if name not in names]:
        raise UnknownColumn(
            f"The rows for {target.name} lack {_listed(missing)}, which the upsert names as key or "
            "to be updated."
        )
    driver, dialect = await _driver(session)
    # A name of its own, so that one transaction may hold several.
    staging = f"staging_{uuid4().hex}"
    parts = {
        "target": _identifier(target),
        "name": sql.Identifier(target.name),
        "staging": sql.Identifier("pg_temp", staging),
        "position": sql.Identifier(f"position_{staging}"),
        "columns": _joined(names),
        "key": _joined(key),
        "key_given": sql.SQL(" AND ").join(
            sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in key
        ),
        "same_key": sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(
                sql.Identifier(target.name, name), sql.Identifier("staged", name)
            )
            for name in key
        ),
        "staged_key": _joined(key, "staged"),
    }
    async with driver.cursor() as cursor:
        await cursor.execute(_CREATE_STAGING.format(**parts))
        count = await _copy(driver, dialect, target, parts["staging"], names, batches, None)
        await cursor.execute(_DROP_DUPLICATES.format(**parts))
        count -= cursor.rowcount
        try:
            await cursor.execute(_INSERT_NEW.format(**parts))
            inserted = cursor.rowcount
            updated = 0
            if update:
                assignments = [
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("staged", name))
                    for name in update
                ]
                assignments += _touched(target, update, dialect)
                await cursor.execute(
                    _UPDATE_DIFFERENT.format(
                        **parts,
                        assignments=sql.SQL(", ").join(assignments),
                        old=_joined(update, target.name),
                        new=_joined(update, "staged"),
                    )
                )
                updated = cursor.rowcount
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise _refused(target, error) from error
        except psycopg.errors.InvalidColumnReference as error:
            raise RowRejected(
                f"No primary key or unique constraint of {target.name} covers exactly "
                f"{_listed(key)}; name such columns as the key of the upsert."
            ) from error
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
# Both statements lock in the order of the key, so that two upserts at once don't deadlock. One
# INSERT … DO UPDATE could not tell inserts from updates on a partitioned table.
_INSERT_NEW = sql.SQL(
    "INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {staging} "
    "ORDER BY {key} ON CONFLICT ({key}) DO NOTHING"
)
# The image comparison sees any difference, and works for types without an equality, as json.
_UPDATE_DIFFERENT = sql.SQL(
    "UPDATE {target} SET {assignments} FROM (SELECT staged.* FROM {staging} AS staged "
    "JOIN {target} ON {same_key} WHERE (ROW({old}))::record *<> (ROW({new}))::record "
    "ORDER BY {staged_key} FOR UPDATE OF {name}) AS staged WHERE {same_key}"
)


# What psycopg raises for a value that does not fit, beside its own errors.
_UNFIT = (
    psycopg.DataError,
    psycopg.ProgrammingError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of a COPY: what the server calls its type, and how its values get there."""

    name: str
    type: str
    oid: int
    process: Callable[[Any], Any] | None
    guard: Callable[[list[Any]], None] | None


async def _copy(
    driver: Connection,
    dialect: Dialect,
    table: Table,
    destination: sql.Composable,
    names: Sequence[str],
    batches: AsyncIterator[list[Any]],
    progress: Callable[[int], None] | None,
) -> int:
    columns, binary = await _columns(driver, dialect, table, names)
    guarded = [(index, column.guard) for index, column in enumerate(columns) if column.guard]
    processed = [(index, column.process) for index, column in enumerate(columns) if column.process]
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        destination, _joined(names), sql.SQL("BINARY" if binary else "TEXT")
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
                except _UNFIT as error:
                    raise (_unfit(driver, table, columns, batch, count, binary) or error) from error
                count += len(batch)
                if progress is not None:
                    progress(count)
                # Rows that are at hand never wait, so others would not get their turn.
                await asyncio.sleep(0)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise _refused(table, error) from error
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
        raise ValueError(f"it must have {len(names)} values, for {_listed(names)}")


def _unfit(
    driver: Connection,
    table: Table,
    columns: Sequence[_Column],
    batch: list[Any],
    count: int,
    binary: bool,
) -> RowRejected | None:
    """Find the first row of a batch that doesn't fit; slow, so only when one is there."""
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
            except _UNFIT as error:
                return RowRejected(
                    f"{where}: column {column.name} is {column.type}, and its value, of type "
                    f"{type(value).__name__}, is not ({error}). Nothing of the load is written.",
                    number,
                )
    return None


def _refused(table: Table, error: psycopg.Error) -> RowRejected:
    reason = error.diag.message_primary or str(error)
    # "COPY trades, line 3, column price"; the word for line depends on the server's language.
    if line := re.match(r"COPY .+?, \D*(\d+)", error.diag.context or ""):
        return RowRejected(
            f"The server refused row {line[1]} of the rows for {table.name}: {reason}. Nothing of "
            "the load is written.",
            int(line[1]),
        )
    return RowRejected(
        f"The server refused the rows for {table.name}: {reason}. Nothing of the load is written."
    )


async def _driver(session: ReadSession) -> tuple[Connection, Dialect]:
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    return cast("Connection", raw.driver_connection), connection.dialect


def _table(table: Table | type[DeclarativeBase]) -> Table:
    return table if isinstance(table, Table) else cast("Table", table.__table__)


def _identifier(table: Table) -> sql.Identifier:
    return sql.Identifier(*filter(None, (table.schema, table.name)))


def _joined(names: Iterable[str], qualifier: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*filter(None, (qualifier, name))) for name in names)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


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


# ---------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------
async def _source(
    table: Table, rows: Rows, columns: Sequence[str] | None
) -> tuple[list[str] | None, AsyncIterator[list[Any]]]:
    """The columns that the rows are for, and the rows in batches; no columns when no rows."""
    if isinstance(rows, ArrowStream):
        reader = importlib.import_module("pyarrow").RecordBatchReader.from_stream(rows)
        columns = columns or reader.schema.names
        if missing := [name for name in columns if name not in reader.schema.names]:
            raise UnknownColumn(f"The Arrow stream for {table.name} lacks {_listed(missing)}.")
        batches = _arrow_batches(reader, columns)
    elif isinstance(rows, AsyncIterable):
        batches = _async_batches(rows)
    else:
        batches = _batches(rows)

    first = await anext(batches, None)
    if columns is None:
        if first and isinstance(first[0], Mapping):
            columns = list(first[0])
        else:
            columns = [
                column.name
                for column in table.columns
                if column.computed is None and column.identity is None
            ]
    _check_columns(table, columns)
    if first is None:
        return None, batches
    chained = _chained(first, batches)
    if isinstance(first[0], Mapping):
        chained = _without_keys(table, chained, columns)
    return list(columns), chained


def _check_columns(table: Table, names: Sequence[str]) -> None:
    known = {column.name: column for column in table.columns}
    if unknown := [name for name in names if name not in known]:
        raise UnknownColumn(
            f"{table.name} has no column {_listed(map(repr, unknown))}; it has {_listed(known)}."
        )
    if computed := [name for name in names if known[name].computed is not None]:
        raise UnknownColumn(
            f"{table.name} generates {_listed(computed)} itself; leave it out of the columns."
        )
    if len(set(names)) < len(names):
        raise UnknownColumn(f"A column of {table.name} is named twice: {_listed(names)}.")


async def _batches(rows: Iterable[Row]) -> AsyncIterator[list[Any]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


async def _async_batches(rows: AsyncIterable[Row]) -> AsyncIterator[list[Any]]:
    batch = []
    async for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _arrow_batches(reader: Any, columns: Sequence[str]) -> AsyncIterator[list[Any]]:
    pyarrow = importlib.import_module("pyarrow")
    for batch in reader:
        arrays = []
        for name in columns:
            array = batch.column(name)
            if pyarrow.types.is_timestamp(array.type) and array.type.unit == "ns":
                # Python and PostgreSQL count microseconds; the cast fails where that would lose.
                array = array.cast(pyarrow.timestamp("us", array.type.tz))
            arrays.append(array)
        for start in range(0, batch.num_rows, BATCH):
            parts = (array.slice(start, BATCH).to_pylist() for array in arrays)
            yield list(zip(*parts, strict=True))


async def _chained(first: list[Any], rest: AsyncIterator[list[Any]]) -> AsyncIterator[list[Any]]:
    yield first
    async for batch in rest:
        yield batch


async def _without_keys(
    table: Table, batches: AsyncIterator[list[Any]], columns: Sequence[str]
) -> AsyncIterator[list[Any]]:
    names = set(columns)
    count = 0
    async for batch in batches:
        values = []
        for number, row in enumerate(batch, count + 1):
            if not isinstance(row, Mapping) or row.keys() != names:
                raise RowRejected(
                    f"Row {number} of the rows for {table.name} does not fit: it must be a mapping "
                    f"with the keys {_listed(columns)}. Nothing of the load is written.",
                    number,
                )
            values.append(tuple(row[name] for name in columns))
        count += len(batch)
        yield values


# ---------------------------------------------------------------------------------------
# Types
# ---------------------------------------------------------------------------------------
async def _columns(
    driver: Connection, dialect: Dialect, table: Table, names: Sequence[str]
) -> tuple[list[_Column], bool]:
    """How each column is sent, and whether all of them have a binary form that is safe."""
    async with driver.cursor() as cursor:
        await cursor.execute(_TYPES, [_identifier(table).as_string(driver)])
        found = {name: (oid, type_name) for name, oid, type_name in await cursor.fetchall()}
    if missing := [name for name in names if name not in found]:
        raise UnknownColumn(
            f"The model of {table.name} has {_listed(missing)}, the table in the database has "
            "not; run the migrations."
        )
    types = await _wire_types(driver, [found[name][0] for name in names], _find_dumper(driver))
    declared = {column.name: column.type for column in table.columns}
    columns = [
        _Column(
            name,
            found[name][1],
            oid,
            # The guards do for these what SQLAlchemy does value by value.
            None
            if isinstance(declared[name], (Boolean, LargeBinary))
            else declared[name].dialect_impl(dialect).bind_processor(dialect),
            _GUARDS.get(oid) if types else None,
        )
        for name, oid in zip(names, types or [0] * len(names), strict=True)
    ]
    return columns, types is not None


# A domain travels as the type below it.
_TYPES = """
WITH RECURSIVE columns (name, declared, type) AS (
    SELECT attname, format_type(atttypid, atttypmod), atttypid
    FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT name, declared, typbasetype FROM columns JOIN pg_type ON oid = type WHERE typtype = 'd'
)
SELECT name, oid, declared FROM columns JOIN pg_type ON oid = type WHERE typtype <> 'd'
"""


async def _wire_types(
    driver: Connection, oids: Sequence[int], find: Callable[[int], object]
) -> list[int] | None:
    """The types as which to send or read in binary form; None when one has no such form."""
    text = builtin["text"].oid
    alike = {builtin["bpchar"].oid: text}
    if unknown := [oid for oid in oids if oid not in alike and not find(oid)]:
        async with driver.cursor() as cursor:
            await cursor.execute(
                "SELECT oid FROM pg_type WHERE oid = ANY(%s) AND typtype = 'e'", [unknown]
            )
            alike |= {oid: text for (oid,) in await cursor.fetchall()}
    if set(unknown) - alike.keys():
        return None
    return [alike.get(oid, oid) for oid in oids]


def _find_dumper(driver: Connection) -> Callable[[int], object]:
    def find(oid: int) -> object:
        if oid in _UNCHECKED:
            return None
        try:
            return driver.adapters.get_dumper_by_oid(oid, Format.BINARY)
        except psycopg.ProgrammingError:
            return None

    return find


# psycopg's binary dumpers trust their caller: a number too large for its column would be stored as
# another number, a text as true. These guards look at one column of a batch at a time.
def _packs_as(code: str) -> Callable[[list[Any]], None]:
    def guard(values: list[Any]) -> None:
        numbers = list(filter(None, values))
        # The byte order asks for checks: without one, too large a float packs as infinity.
        struct.pack(f"!{len(numbers)}{code}", *numbers)

    return guard


def _is_bool(values: list[Any]) -> None:
    if not set(values) <= {True, False, None}:
        raise TypeError("only True and False are")


def _has_no_time(values: list[Any]) -> None:
    if any(issubclass(kind, datetime) for kind in set(map(type, values))):
        raise TypeError("its time of day would be lost")


def _is_no_text(values: list[Any]) -> None:
    # SQLAlchemy wraps what it takes for bytes.
    if any(isinstance(getattr(value, "obj", value), str) for value in values):
        raise TypeError("encode it to bytes first")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _in_arrays(guard: Callable[[list[Any]], None]) -> Callable[[list[Any]], None]:
    return lambda values: guard(list(_leaves(values)))


_ELEMENT_GUARDS = {
    "int2": _packs_as("h"),
    "int4": _packs_as("i"),
    "float4": _packs_as("f"),
    "bool": _is_bool,
    "date": _has_no_time,
    "bytea": _is_no_text,
}
_GUARDS = {builtin[name].oid: guard for name, guard in _ELEMENT_GUARDS.items()} | {
    builtin[name].array_oid: _in_arrays(guard) for name, guard in _ELEMENT_GUARDS.items()
}
# Their bounds are integers that no guard reaches, so they go as text, which the server checks.
_UNCHECKED = {
    oid
    for name in ("int4range", "int4multirange")
    for oid in (builtin[name].oid, builtin[name].array_oid)
}
