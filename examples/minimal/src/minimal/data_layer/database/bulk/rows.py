"""The rows of a bulk load, in batches, and their columns."""

import importlib
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)
from itertools import islice
from typing import Any, Protocol, TypeAlias, runtime_checkable

from sqlalchemy import Table

from ..errors import RowRejected, UnknownColumn
from .tables import listed, written_columns

Row: TypeAlias = Sequence[Any] | Mapping[str, Any]


@runtime_checkable
class ArrowStream(Protocol):
    """Whatever exports an Arrow stream: a pyarrow Table or RecordBatchReader, a polars frame."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Rows: TypeAlias = Iterable[Row] | AsyncIterable[Row] | ArrowStream

# Rows between two turns of the event loop: a few milliseconds.
BATCH = 5_000


async def source(
    table: Table, rows: Rows, columns: Sequence[str] | None
) -> tuple[list[str] | None, AsyncIterator[list[Any]]]:
    """The columns of the rows (None where there are no rows), and the rows in batches."""
    if isinstance(rows, ArrowStream):
        reader = importlib.import_module("pyarrow").RecordBatchReader.from_stream(rows)
        columns = columns or reader.schema.names
        if missing := [name for name in columns if name not in reader.schema.names]:
            raise UnknownColumn(f"The Arrow stream for {table.name} lacks {listed(missing)}.")
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
            columns = written_columns(table)
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
            f"{table.name} has no column {listed(map(repr, unknown))}; it has {listed(known)}."
        )
    if computed := [name for name in names if known[name].computed is not None]:
        raise UnknownColumn(
            f"{table.name} generates {listed(computed)} itself; leave it out of the columns."
        )
    if len(set(names)) < len(names):
        raise UnknownColumn(f"A column of {table.name} is named twice: {listed(names)}.")


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
                # Python and PostgreSQL count microseconds; the cast fails where it loses digits.
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
                    f"with the keys {listed(columns)}. Nothing of the load is written.",
                    number,
                )
            values.append(tuple(row[name] for name in columns))
        count += len(batch)
        yield values
