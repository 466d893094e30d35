"""Results back into PostgreSQL: COPY, a staging table and an upsert, once for each run."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]
from sqlalchemy import Table, exists, func, select
from sqlalchemy.orm import DeclarativeBase

from ..database import Database, upsert
from ..database.bulk.tables import table_of
from .errors import DuckDBError
from .values import faults_of, rows, with_json_as_text

BATCH = 5_000


@dataclass(frozen=True, slots=True)
class WrittenBack:
    """What a write-back did; `repeated` if the run was written before, so that nothing was done."""

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
    """Write a result into a table, in one transaction, with constant memory.

    Rows whose key exists are updated if they differ. Each row is marked with `run_id`. If the mark
    is in the table already, nothing is changed, so a job may be repeated after any crash.

    Args:
        database: the layer's database.
        table: a table or a model, with the columns of the result and with `run_column`.
        result: of `Analysis.query`, or Arrow.
        key: the columns of the primary key or of a unique constraint.
        run_id: names the run, such as `indicators 2026-11-23`.
        run_column: the text column that holds the mark.

    Raises:
        DuckDBError: a value could change on its way, or two rows have the same key; the message
            names the column and says what the query must cast.
        RowRejected, UnknownColumn: as in `database.upsert`. Nothing is written then.
    """
    target = table_of(table)
    if run_column not in target.columns:
        raise DuckDBError(
            f"{target.name} has no column {run_column}, which marks the rows of a run; add it as "
            "text, or name another in run_column."
        )
    # Arrow has other names for some types.
    described = result.description or () if isinstance(result, duckdb.DuckDBPyConnection) else ()
    kinds = {column[0]: str(column[1]) for column in described}
    reader = _reader(result)
    if run_column in reader.schema.names:
        raise DuckDBError(f"The result has a column {run_column} of its own; leave it out.")
    faults = faults_of(reader.schema, kinds, target)
    count = 0

    async def marked() -> AsyncIterator[tuple[Any, ...]]:
        nonlocal count
        for batch in reader:
            for start in range(0, batch.num_rows, BATCH):
                part = batch.slice(start, BATCH)
                for row in rows(part, target, faults):
                    yield (*row, run_id)
                count += part.num_rows

    async with database.transaction() as session:
        # Two processes with one run: the second waits, and finds the mark of the first.
        mark = f"{target.fullname} {run_id}"
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(mark, 0))))
        if await session.scalar(select(exists().where(target.c[run_column] == run_id))):
            return WrittenBack(repeated=True)
        names = [*reader.schema.names, run_column]
        done = await upsert(session, with_json_as_text(target), marked(), key=key, columns=names)
        if surplus := count - done.inserted - done.updated - done.unchanged:
            raise DuckDBError(
                f"Of the {count:,} rows for {target.name}, {surplus:,} have the key "
                f"({', '.join(key)}) of another one; let the query give one row a key. Nothing is "
                "written."
            )
    return WrittenBack(done.inserted, done.updated, done.unchanged)


def _reader(result: Any) -> Any:
    if isinstance(result, duckdb.DuckDBPyConnection):
        return result.to_arrow_reader(BATCH)
    return result.to_reader(BATCH) if isinstance(result, pa.Table) else result
