"""Results back into PostgreSQL: COPY, a staging table and an upsert, once for each run."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from sqlalchemy import JSON, Table, Uuid, exists, func, select
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import ARRAY, TypeEngine

from ..database import Database, upsert
from ..database.bulk.tables import table_of
from .errors import DuckDBError

BATCH = 5_000

# What Python's date and datetime span, as Arrow counts: days, and microseconds of a day.
_DAYS = (-719_162, 2_932_896)
_A_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class WrittenBack:
    """What a write-back did; `repeated` when the run was there already and nothing was done."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    repeated: bool = False


async def write_back(
    database: Database,
    table: Table | type[DeclarativeBase],
    result: duckdb.DuckDBPyConnection | pa.RecordBatchReader | pa.Table,
    *,
    key: Sequence[str],
    run_id: str,
    run_column: str = "run_id",
) -> WrittenBack:
    """Bring a result into a table, in one transaction, with constant memory.

    Rows whose key is there are updated where they differ. Each row is marked with `run_id`; a run
    whose mark is in the table already changes nothing, so a job may be repeated after any crash.

    Args:
        database: the layer's database.
        table: a table or a model; it has a column for each of the result, and `run_column`.
        result: of `Analysis.query`, or Arrow.
        key: the columns of the primary key or of a unique constraint.
        run_id: names the run, such as `indicators 2026-11-23`.
        run_column: the text column that holds the mark.

    Raises:
        DuckDBError: a value can't be held by Python on its way, by column.
        RowRejected, UnknownColumn: as in `database.upsert`. Nothing is written then.
    """
    target = table_of(table)
    if run_column not in target.columns:
        raise DuckDBError(
            f"{target.name} has no column {run_column}, which marks the rows of a run; add it as "
            "text, or name another in run_column."
        )
    reader = _reader(result)
    names = [*reader.schema.names, run_column]
    if run_column in reader.schema.names:
        raise DuckDBError(f"The result has a column {run_column} of its own; leave it out.")
    async with database.transaction() as session:
        # Two processes with one run: the second waits, and finds the mark of the first.
        mark = f"{target.fullname} {run_id}"
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(mark, 0))))
        if await session.scalar(select(exists().where(target.c[run_column] == run_id))):
            return WrittenBack(repeated=True)
        rows = _rows(reader, target, run_id)
        done = await upsert(session, target, rows, key=key, columns=names)
    return WrittenBack(done.inserted, done.updated, done.unchanged)


def _reader(result: Any) -> Any:
    if isinstance(result, duckdb.DuckDBPyConnection):
        return result.to_arrow_reader(BATCH)
    return result.to_reader(BATCH) if isinstance(result, pa.Table) else result


async def _rows(reader: Any, target: Table, run_id: str) -> AsyncIterator[tuple[Any, ...]]:
    converters = [
        _converter(target.columns[name].type) if name in target.columns else None
        for name in reader.schema.names
    ]
    for batch in reader:
        for start in range(0, batch.num_rows, BATCH):
            part = batch.slice(start, BATCH)
            columns = []
            for name, convert in zip(reader.schema.names, converters, strict=True):
                values = _values(part.column(name), name)
                if convert is not None:
                    values = [None if value is None else convert(value) for value in values]
                columns.append(values)
            for row in zip(*columns, strict=True):
                yield (*row, run_id)


def _converter(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    """What the ORM takes for a column, from what Arrow has for it."""
    if isinstance(kind, ARRAY):
        convert = _converter(kind.item_type)
        return convert and (
            lambda items: [None if item is None else convert(item) for item in items]
        )
    if isinstance(kind, JSON):
        return lambda value: json.loads(value) if isinstance(value, str) else value
    if isinstance(kind, Uuid) and kind.as_uuid:
        return lambda value: UUID(value) if isinstance(value, str) else value
    return None


def _values(array: Any, name: str) -> list[Any]:
    kind = array.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        # Python counts microseconds; the cast fails where that would lose.
        array = array.cast(pa.timestamp("us", kind.tz))
    leaves = array.flatten() if pa.types.is_list(kind) else array
    if not _holdable(leaves):
        raise DuckDBError(
            f"The column {name} holds an infinite time, one outside of the years 1 to 9999, or "
            "24:00, which Python has not; let the query replace or leave out these values. Nothing "
            "is written."
        )
    return list(array.to_pylist())


def _holdable(array: Any) -> bool:
    if len(array) == array.null_count:
        return True
    first, last = _DAYS
    if pa.types.is_timestamp(array.type):
        per_day = {"s": 86_400, "ms": 86_400_000, "us": _A_DAY}[array.type.unit]
        low, high, kind = first * per_day, (last + 1) * per_day - 1, pa.int64()
    elif pa.types.is_date32(array.type):
        low, high, kind = first, last, pa.int32()
    elif pa.types.is_time64(array.type) and array.type.unit == "us":
        low, high, kind = 0, _A_DAY - 1, pa.int64()
    else:
        return True
    found = pc.min_max(array.view(kind))
    return bool(low <= found["min"].as_py() and found["max"].as_py() <= high)
