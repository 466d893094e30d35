"""Whether the files of an export have the rows that the database has."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from ..database import Database
from .columns import plan
from .declarations import Export
from .errors import DuckDBError
from .lake import Lake
from .reader import Reader, midnight, reading
from .sql import first_line


@dataclass(frozen=True, slots=True)
class Compared:
    """The rows of one file, and those of the same time in the database.

    Attributes:
        file: the file.
        since: rows were counted from this time on; the database may lack earlier ones.
        rows: in the file.
        in_database: in the database.
        due: whether the two must agree, since no later export reads that time again.
    """

    file: Path
    since: datetime
    rows: int
    in_database: int
    due: bool

    @property
    def agrees(self) -> bool:
        """Whether both have the same number of rows."""
        return self.in_database == self.rows

    @property
    def sentence(self) -> str:
        """What was found."""
        if self.agrees:
            return f"{self.file.name}: {self.rows:,} rows, as in the database."
        tail = "." if self.due else "; the next export reads these again."
        return (
            f"{self.file.name} has {self.rows:,} rows from {self.since:%Y-%m-%d %H:%M}, the "
            f"database {self.in_database:,}{tail}"
        )


async def compare(
    database: Database, lake: Lake, export: Export, *, newest: int | None = None
) -> list[Compared]:
    """Count the rows of each file, and of the same time in the database.

    Rows are counted from the oldest one that the database still has, up to the newest exported
    one.

    Args:
        database: the layer's database.
        lake: where the files are.
        export: which files.
        newest: compare only that many of the newest files.

    Raises:
        DuckDBError: the database or a file can't be read.
    """
    planned = await plan(database, export)

    def work() -> list[Compared]:
        try:
            with reading(planned, database.engine.url, lake.settings) as reader:
                return _compare(reader, lake, export, newest)
        except duckdb.Error as error:
            raise DuckDBError(
                f"The rows of {export.name} can't be counted: {first_line(error)}."
            ) from None

    return await asyncio.to_thread(work)


def _compare(reader: Reader, lake: Lake, export: Export, newest: int | None) -> list[Compared]:
    files = lake.files(export)
    last = reader.latest_in(files[-1].path) if files else None
    oldest = reader.oldest()
    if last is None or oldest is None:
        return []
    again = last - export.late
    found = []
    for file in files if newest is None else files[-newest:]:
        begin, end = midnight(file.begin), midnight(file.end)
        for since, until, due in (
            (max(begin, oldest), min(end, again), True),
            (max(begin, oldest, again), min(end, last + timedelta.resolution), False),
        ):
            if since < until:
                rows = reader.stored([file.path], since, until)
                found.append(Compared(file.path, since, rows, reader.count(since, until), due))
    return found
