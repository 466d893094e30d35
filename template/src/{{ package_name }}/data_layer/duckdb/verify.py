"""Whether the files of an export have as many rows as the database."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from ..database import Database
from ..database.bulk.copy import driver_of
from .columns import Plan, plan
from .declarations import Export
from .export import rows_of
from .extension import identifier
from .lake import Lake, LakeFile
from .reader import latest_in, midnight, moment_literal


@dataclass(frozen=True, slots=True)
class Compared:
    """One file and the rows of its period, up to the newest moment that it holds."""

    file: LakeFile
    rows: int
    in_database: int

    @property
    def agrees(self) -> bool:
        """Whether both have the same number of rows, or the database has dropped all of them."""
        return self.in_database in (self.rows, 0)

    @property
    def sentence(self) -> str:
        """What was found."""
        if self.agrees and self.in_database != self.rows:
            return f"{self.file.path.name}: {self.rows:,} rows, of which the database keeps none."
        if self.agrees:
            return f"{self.file.path.name}: {self.rows:,} rows, as in the database."
        return (
            f"{self.file.path.name} has {self.rows:,} rows from {self.file.begin}, the database "
            f"{self.in_database:,}."
        )


async def compare(
    database: Database, lake: Lake, export: Export, *, newest: int | None = None
) -> list[Compared]:
    """Count the rows of each file, and of its period in the database.

    Args:
        database: the layer's database.
        lake: where the files are.
        export: which files.
        newest: compare only that many of the newest files.
    """
    files = lake.files(export)
    chosen = files if newest is None else files[-newest:]
    if not chosen:
        return []
    planned = await plan(database, export)
    counts = await asyncio.to_thread(_counts, chosen)
    until = await asyncio.to_thread(_until, planned, chosen[-1])
    found = []
    async with database.read_only(snapshot=True) as session:
        driver, _ = await driver_of(session)
        for file, rows in zip(chosen, counts, strict=True):
            last = until if file is chosen[-1] else None
            statement = _count(planned, file, last)
            async with driver.cursor() as cursor:
                await cursor.execute(statement.encode())
                row: Any = await cursor.fetchone()
            found.append(Compared(file, rows, row[0]))
    return found


def _counts(files: list[LakeFile]) -> list[int]:
    with duckdb.connect() as connection:
        return [rows_of(connection, file.path) for file in files]


def _until(planned: Plan, file: LakeFile) -> datetime | None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return latest_in(connection, planned.time, file.path)


def _count(planned: Plan, file: LakeFile, last: datetime | None) -> str:
    """The newest file is not complete yet, so only what it could hold is counted."""
    time = identifier(planned.time)
    since = moment_literal(planned.time_type, midnight(file.begin))
    until = moment_literal(planned.time_type, midnight(file.end))
    condition = f"{time} >= {since} AND {time} < {until}"
    if last is not None:
        condition += f" AND {time} <= {moment_literal(planned.time_type, last)}"
    return f"SELECT count(*) FROM ({planned.base}) AS exported WHERE {condition}"  # noqa: S608
