"""Export from PostgreSQL to Parquet: streamed, one file for each period, never a partial file."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeAlias

import duckdb
from sqlalchemy import URL

from ..atomic import replacing
from ..database import Database
from .columns import Plan, plan
from .declarations import Export
from .errors import DuckDBError
from .lake import Lake, LakeFile
from .reader import YEARS, Reader, Stretch, midnight, reading
from .sql import first_line
from .unite import conflicts, unchanged


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        files: the files that were written or replaced, by time.
        rows: rows in these files, including those that were copied from a replaced file.
        read: rows that came from PostgreSQL.
        removed: files of a killed export that were in the way.
    """

    files: tuple[Path, ...] = ()
    rows: int = 0
    read: int = 0
    removed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is: the `done` share of its files, from 0 to 1, and the rows written."""

    done: float
    rows: int


Report: TypeAlias = Callable[[Progress], None]
Idle: TypeAlias = "SimpleQueue[duckdb.DuckDBPyConnection]"


async def export(
    database: Database,
    lake: Lake,
    declared: Export,
    *,
    since: date | None = None,
    until: date | None = None,
    fewer: bool = False,
    progress: Report | None = None,
) -> Exported:
    """Bring an export up to date; all files are of one snapshot of the database.

    Without `since` only new rows are read: those from the newest exported time on, or from
    `late` before it. After a crash the next call continues after the last complete file. The export
    does not see rows that came later than `late` allows, nor rows that were changed or deleted;
    `since` reads their periods again.

    Columns may have been added or dropped, and types widened, since the last export: the existing
    files stay as they are.

    Args:
        database: the layer's database.
        lake: where the files go.
        declared: what to export.
        since: read again every period from the one of this day on, as a whole.
        until: leave out rows from this day on.
        fewer: let a file be replaced by one with fewer rows.
        progress: is called after each file.

    Raises:
        DuckDBError: the export can't keep every value, a column's type can't be united with that
            in its files, a file would lose rows, or another process exports the same.
        DatabaseUnreachable: as in `Database.transaction`.
    """
    planned = await plan(database, declared)
    run = _Run(lake, declared, planned, since, until, fewer, progress or (lambda _: None))
    work = asyncio.create_task(asyncio.to_thread(run.work, database.engine.url))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # A thread can't be cancelled, but its statements can; then it removes its files and ends.
        while not work.done():
            await asyncio.to_thread(run.interrupt)
            await asyncio.wait([work], timeout=0.1)
        with suppress(DuckDBError):
            work.result()
        raise


@dataclass(slots=True)
class _Run:
    """One call of `export`, in a thread of its own."""

    lake: Lake
    declared: Export
    planned: Plan
    since: date | None
    until: date | None
    fewer: bool
    progress: Report
    reader: Reader | None = None

    def work(self, url: URL) -> Exported:
        with self.lake.writing(self.declared):
            removed = tuple(self.lake.orphans(self.declared))
            for path in removed:
                path.unlink(missing_ok=True)
            files = self.lake.files(self.declared)
            self._check_files(files)
            try:
                with reading(self.planned, url, self.lake.settings) as self.reader:
                    self._check_places(self.reader)
                    done = self._write(self.reader, self._stretches(self.reader, files))
            except (duckdb.Error, OSError) as error:
                raise _refused(self.declared, error) from None
        return Exported(*done, removed)

    def interrupt(self) -> None:
        """Stop the statements that run now; `work` then raises."""
        if self.reader is not None:
            self.reader.interrupt()

    def _check_files(self, files: list[LakeFile]) -> None:
        name, period = self.declared.name, self.declared.period
        for file in files:
            if self.lake.path(self.declared, period.begin(file.begin)) != file.path:
                raise DuckDBError(
                    f"{file.path.name} is not the file of one {period}, as the export {name} has "
                    "them; move the files of the other period away."
                )
        if self.since is not None and files and self.since > files[-1].end:
            raise DuckDBError(
                f"The export {name} reaches {files[-1].end} so far; from {self.since} on it would "
                "have a gap. Leave --since out."
            )
        start = None if self.since is None else period.begin(self.since)
        stay = [file.path for file in files if start is None or file.begin < start]
        # The newest file was compared with the older ones when it was written.
        if not stay or unchanged(self.planned, stay[-1]):
            return
        if faults := conflicts(self.planned, stay):
            raise DuckDBError(
                f"The columns of the export {name} can't be united with those in its files: "
                f"{'; '.join(faults[:3])}. Export a select that casts the column to its former "
                "type, or labels it with a new name. Where the database still has every row, "
                f"--since {files[0].begin} writes all files anew."
            )

    def _check_places(self, reader: Reader) -> None:
        if reader.unplaced():
            raise DuckDBError(
                f"The export {self.declared.name} has rows without a time, with an infinite one, "
                f"or with one outside of the years {YEARS[0]} to {YEARS[1] - 1}, which belong into "
                f"no file; leave them out by a select with a condition on {self.declared.time}."
            )

    def _check_values(
        self,
        reader: Reader,
        idle: Idle,
        connection: duckdb.DuckDBPyConnection,
        stretches: list[Stretch],
    ) -> None:
        """Check the values of every row that is read, before any file gets its name."""
        first, last = stretches[0], stretches[-1]
        try:
            told = reader.lost(connection, first.cut or first.since, last.until)
        finally:
            idle.put(connection)
        if told:
            raise DuckDBError(
                f"The export {self.declared.name} can't keep every value: {told}. Nothing is "
                "written."
            )

    def _stretches(self, reader: Reader, files: list[LakeFile]) -> list[Stretch]:
        """The stretch of each period with rows to read, in the order of time."""
        period = self.declared.period
        end = None if self.until is None else midnight(self.until)
        start = cut = None
        if self.since is not None:
            start = midnight(period.begin(self.since))
        elif files:
            newest = reader.latest_in(files[-1].path)
            if newest is None:
                start = midnight(files[-1].begin)
            else:
                # From the newest moment itself: more rows of that moment may have come.
                start = cut = newest - self.declared.late
                touched = [file.path for file in files if midnight(file.end) > cut]
                if reader.stored(touched, cut) == reader.count(cut, end):
                    return []
        known = {file.begin: file.path for file in files}
        stretches = []
        for begin in reader.periods(period, start, end):
            first, after = midnight(begin), midnight(period.after(begin))
            old = known.get(begin)
            # A file that is replaced gets its whole period, or it would lose the rows after `end`.
            whole = end is None or (self.since is not None and old is not None)
            until = after if whole or end is None else min(after, end)
            kept = cut if old is not None and cut is not None and cut > first else None
            target = self.lake.path(self.declared, begin)
            stretches.append(Stretch(target, first, until, old, kept))
        return stretches

    def _write(self, reader: Reader, stretches: list[Stretch]) -> tuple[tuple[Path, ...], int, int]:
        """Write the files; returns them, their rows, and how many came from PostgreSQL."""
        if not stretches:
            return (), 0, 0
        connections = min(self.lake.settings.threads, len(stretches))
        idle: Idle = SimpleQueue()
        for connection in reader.share(connections):
            idle.put(connection)
        rows = read = done = 0
        pending: deque[Future[tuple[int, int]]] = deque()

        def finish() -> None:
            nonlocal rows, read, done
            checked.result()
            count, new = pending.popleft().result()
            rows, read, done = rows + count, read + new, done + 1
            self.progress(Progress(done / len(stretches), rows))

        # More threads than connections: while some read, others wait for the disk or their turn.
        with ThreadPoolExecutor(4 * connections, "export") as pool:
            # The check runs beside the first files, but no file gets its name before its end.
            checked = pool.submit(self._check_values, reader, idle, idle.get(), stretches)
            before: Future[Any] = checked
            try:
                for stretch in stretches:
                    # Periods start in the order of time. A statement that fails ends the
                    # transaction of its connection, so no earlier period may still need that.
                    before = pool.submit(self._file, reader, idle, idle.get(), stretch, before)
                    pending.append(before)
                    while pending and (
                        (checked.done() and pending[0].done()) or len(pending) > 4 * connections
                    ):
                        finish()
                while pending:
                    finish()
            except BaseException:
                begun: list[Future[Any]] = [checked, *pending]
                while wait(begun, timeout=0.1).not_done:
                    reader.interrupt()
                raise
        return tuple(stretch.target for stretch in stretches), rows, read

    def _file(
        self,
        reader: Reader,
        idle: Idle,
        connection: duckdb.DuckDBPyConnection,
        stretch: Stretch,
        before: "Future[Any]",
    ) -> tuple[int, int]:
        """Write one file; returns its rows, and how many of them came from PostgreSQL."""
        count = taken = 0

        def ready() -> None:
            nonlocal taken
            # Files get their names in the order of time, so that the newest file says how far the
            # export is, even after a crash.
            before.result()
            taken = self._taken_over(reader, stretch, count)

        with ExitStack() as lent:
            lent.callback(idle.put, connection)
            with replacing(stretch.target, ready) as part:
                count = reader.write(connection, part, stretch)
                lent.close()
        return count, count - taken

    def _taken_over(self, reader: Reader, stretch: Stretch, count: int) -> int:
        """How many rows of a new file come from the one that it replaces, if it may replace it."""
        if stretch.old is None:
            return 0
        if not self.fewer and count < (had := reader.stored([stretch.old])):
            raise DuckDBError(
                f"{stretch.target.name} has {had} rows, and the database only {count} for it, as "
                "after a deletion or a retention. It stays as it is; --fewer replaces it anyway."
            )
        return 0 if stretch.cut is None else reader.stored([stretch.old], None, stretch.cut)


def _refused(declared: Export, error: Exception) -> DuckDBError:
    # PostgreSQL's message quotes the value, and DuckDB's the statement: both are left out.
    text = re.sub(r': ".*"$', "", first_line(error).rpartition("ERROR:")[2].strip())
    begin = f"The export {declared.name} stopped: "
    kept = "The file of that period is not written; those before it are complete."
    if isinstance(error, duckdb.OutOfMemoryException):
        return DuckDBError(
            f"{begin}it needs more than DUCKDB_MEMORY_LIMIT; raise that, lower "
            f"DUCKDB_THREADS, or choose a shorter period. {kept}"
        )
    if isinstance(error, duckdb.ConversionException):
        # DuckDB's text quotes the value.
        column = text.partition(" source column ")[2] or "a column"
        return DuckDBError(f"{begin}DuckDB can't convert a value of {column}. {kept}")
    if isinstance(error, duckdb.InterruptException):
        return DuckDBError(f"{begin}it was interrupted. {kept}")
    return DuckDBError(f"{begin}{text}. {kept}")
