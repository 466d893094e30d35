"""From PostgreSQL to Parquet: streamed, one file a period, each there whole or not at all."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeAlias

import duckdb
from sqlalchemy import URL

from ..database import Database
from .columns import Plan, plan
from .declarations import Export
from .errors import DuckDBError
from .extension import first_line, identifier, literal
from .lake import Lake, LakeFile, Part
from .reader import YEARS, Place, Reader, midnight, reading


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        files: those that were written or replaced, by time.
        rows: in these files, those taken over from an older version of a file included.
        read: rows that came from PostgreSQL.
        removed: files of a killed export that were in the way.
    """

    files: tuple[Path, ...] = ()
    rows: int = 0
    read: int = 0
    removed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is: `done` of 1, by the number of its files, and the rows written."""

    done: float
    rows: int


Report: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to write; `cut` is the moment from which its rows are read anew."""

    begin: date
    since: datetime
    until: datetime
    target: Path
    old: LakeFile | None
    cut: datetime | None


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
    `late` before it. What was killed is continued by the next call: complete files stay. Rows that
    came later than `late` allows, and rows that were changed or deleted, are not seen; `since`
    reads their periods again.

    Args:
        database: the layer's database.
        lake: where the files go.
        declared: what to export.
        since: read the periods from the one of this day on again, whole.
        until: leave out rows from this day on.
        fewer: let a file be replaced by one with fewer rows.
        progress: is called after each file.

    Raises:
        DuckDBError: the export can't keep every value, its files have other columns, a file
            would lose rows, or another process exports the same.
        DatabaseUnreachable: as in `Database.transaction`.
    """
    planned = await plan(database, declared)
    reader: list[Reader] = []
    work = asyncio.create_task(
        asyncio.to_thread(
            _export,
            *(lake, declared, planned, since, until, fewer, progress),
            database.engine.url,
            reader,
        )
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # The thread can't be cancelled, its statements can; its files are gone when it has ended.
        while not work.done():
            for one in reader:
                await asyncio.to_thread(one.interrupt)
            await asyncio.wait([work], timeout=0.1)
        with suppress(DuckDBError):
            work.result()
        raise


def _export(
    lake: Lake,
    declared: Export,
    planned: Plan,
    since: date | None,
    until: date | None,
    fewer: bool,
    progress: Report | None,
    url: URL,
    opened: list[Reader],
) -> Exported:
    with lake.writing(declared):
        removed = _orphans(lake, declared)
        files = lake.files(declared)
        try:
            with reading(planned, url, lake.settings) as reader:
                opened.append(reader)
                _check(lake, declared, reader, files, since)
                done = _write(lake, declared, reader, files, since, until, fewer, progress)
        except (duckdb.Error, OSError) as error:
            raise _refused(declared, error) from None
        return replace(done, removed=removed)


def _orphans(lake: Lake, declared: Export) -> tuple[Path, ...]:
    """Remove what a killed export of the same name has left."""
    start = f".{declared.source}_{declared.asset}_{declared.timeframe}_"
    found = tuple(path for path in lake.orphans() if path.name.startswith(start))
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _check(
    lake: Lake, declared: Export, reader: Reader, files: list[LakeFile], since: date | None
) -> None:
    if reader.unplaced():
        raise DuckDBError(
            f"The export {declared.name} has rows without a time, with an infinite one, or with "
            f"one outside of the years {YEARS[0]} to {YEARS[1] - 1}, which belong into no file; "
            f"leave them out by a select with a condition on {declared.time}."
        )
    for file in files:
        if (
            declared.period.begin(file.begin) != file.begin
            or lake.path(declared, file.begin) != file.path
        ):
            raise DuckDBError(
                f"{file.path.name} is not the file of one {declared.period}, as the export "
                f"{declared.name} has them; move the files of the other period away."
            )
    if not files:
        return
    if since is not None and since > files[-1].end:
        raise DuckDBError(
            f"The export {declared.name} reaches {files[-1].end} so far; from {since} on it would "
            "have a gap. Leave --since out."
        )
    if since is not None and since <= files[0].begin:
        return  # all are written anew
    newest = files[-1]
    try:
        old = schema_of(newest.path)
    except duckdb.Error as error:
        raise DuckDBError(
            f"{newest.path.name} can't be read ({first_line(error)}); move it away, and it is "
            "written again."
        ) from None
    new = reader.schema()
    if old != new:
        changes = [f"{name} was {kind}" for name, kind in old if (name, kind) not in new]
        changes += [f"{name} is {kind}" for name, kind in new if (name, kind) not in old]
        raise DuckDBError(
            f"The export {declared.name} has other columns than {newest.path.name}: "
            f"{', '.join(changes) or 'another order'}. Write all files anew by --since "
            f"{files[0].begin}, or move that file away if it is not of this export."
        )


def schema_of(file: Path) -> list[tuple[str, str]]:
    """The names and the types of DuckDB in a file."""
    with duckdb.connect() as connection:
        found = connection.execute(f"DESCRIBE FROM read_parquet({literal(str(file))})")
        return [(row[0], row[1]) for row in found.fetchall()]


def _write(
    lake: Lake,
    declared: Export,
    reader: Reader,
    files: list[LakeFile],
    since: date | None,
    until: date | None,
    fewer: bool,
    progress: Report | None,
) -> Exported:
    end = None if until is None else midnight(until)
    start, cut = _start(declared, reader, files, since)
    if cut is not None and reader.has_all(files, cut, end):
        return Exported()
    jobs = _jobs(lake, declared, reader, files, start, end, cut, since is not None)
    written: list[Path] = []
    rows = read = 0
    connections = max(1, min(lake.settings.threads, len(jobs)))
    reader.share(connections)
    # Twice as many threads: while one reads, another waits for the disk.
    with ThreadPoolExecutor(2 * connections, "export") as pool:
        running: deque[tuple[_Job, Future[tuple[ExitStack, Part, int]]]] = deque()

        def finish() -> None:
            nonlocal rows, read
            job, future = running.popleft()
            parts, part, count = future.result()
            with parts:
                taken = _taken(declared, reader, job, count, fewer)
                part.publish()
            written.append(job.target)
            rows += count
            read += count - taken
            if progress is not None:
                progress(Progress(len(written) / len(jobs), rows))

        try:
            # Files get their names in the order of time, so that the newest one tells how far the
            # export is, also after a crash.
            for job in jobs:
                # In this order too: what a statement has spoiled by failing is for later periods.
                place = reader.reserve()
                running.append((job, pool.submit(_part, lake, declared, reader, place, job)))
                if len(running) > 2 * connections:
                    finish()
            while running:
                finish()
        except BaseException:
            # From the end, or a later one could wait for what was promised to an earlier one.
            for _, future in reversed(running):
                future.cancel()
            for _, future in running:
                while not future.done():
                    reader.interrupt()
                    wait([future], timeout=0.1)
                with suppress(Exception):
                    future.result()[0].close()
            raise
    return Exported(tuple(written), rows, read)


def _start(
    declared: Export, reader: Reader, files: list[LakeFile], since: date | None
) -> tuple[datetime | None, datetime | None]:
    """From where on to read, and up to where the rows of a file that is there are taken over."""
    if since is not None:
        return midnight(declared.period.begin(since)), None
    if not files:
        return None, None
    newest = reader.latest_in(files[-1].path)
    if newest is None:
        return midnight(files[-1].begin), None
    # Rows of the same time may have come since, so that moment is read again.
    cut = newest - declared.late
    return cut, cut


def _jobs(
    lake: Lake,
    declared: Export,
    reader: Reader,
    files: list[LakeFile],
    start: datetime | None,
    end: datetime | None,
    cut: datetime | None,
    again: bool,
) -> list[_Job]:
    """One job for each period that has rows, in the order of time."""
    known = {file.begin: file for file in files}
    jobs = []
    for begin in reader.periods(declared.period, start, end):
        since, after = midnight(begin), midnight(declared.period.after(begin))
        old = known.get(begin)
        # A file is replaced by its whole period, or rows behind `end` would be lost.
        until = after if end is None or (again and old is not None) else min(after, end)
        keeps = old is not None and cut is not None and cut > since
        jobs.append(
            _Job(begin, since, until, lake.path(declared, begin), old, cut if keeps else None)
        )
    return jobs


def _part(
    lake: Lake, declared: Export, reader: Reader, place: Place, job: _Job
) -> tuple[ExitStack, Part, int]:
    """Write one file under a hidden name, to the disk; whoever gets it closes the stack."""
    with ExitStack() as stack:
        kept = (job.old.path, job.cut) if job.old is not None and job.cut is not None else None
        about = {
            "export": declared.name,
            "time": declared.time,
            "since": job.since.isoformat(),
            "until": job.until.isoformat(),
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            part = stack.enter_context(lake.replacing(job.target))
            count = reader.write(
                place.result(), part.path, job.since, job.until, declared.order_by, kept, about
            )
        finally:
            reader.give_back(place.result())
        part.sync()
        return stack.pop_all(), part, count


def _taken(declared: Export, reader: Reader, job: _Job, count: int, fewer: bool) -> int:
    """How many of a new file's rows come from the one that it replaces, which it may."""
    if job.old is None:
        return 0
    connection = reader.connection.cursor()  # a worker may use the reader's own
    before = rows_of(connection, job.old.path)
    if count < before and not fewer:
        raise DuckDBError(
            f"{job.target.name} has {before} rows, and the database only {count} for it, as "
            "after a deletion or a retention. It stays as it is; --fewer replaces it anyway."
        )
    if job.cut is None:
        return 0
    row = connection.execute(
        f"SELECT count(*) FROM read_parquet({literal(str(job.old.path))})"  # noqa: S608
        f" WHERE CAST({identifier(declared.time)} AS TIMESTAMP) < ?",
        [job.cut],
    ).fetchone()
    return int(row[0]) if row else 0


def rows_of(connection: duckdb.DuckDBPyConnection, file: Path) -> int:
    """The number of rows that the footer of a file states."""
    row = connection.execute(
        f"SELECT num_rows FROM parquet_file_metadata({literal(str(file))})"  # noqa: S608
    ).fetchone()
    return int(row[0]) if row else 0


def _refused(declared: Export, error: Exception) -> DuckDBError:
    text = first_line(error)
    begin = f"The export {declared.name} stopped: "
    kept = "The file of that period is not written; those before it are complete."
    if found := re.search(r'NaN.* in column (.+)"', text):
        return DuckDBError(
            f"{begin}a value of {found[1]} is NaN, which a decimal of Parquet can't be; correct "
            f"the row, or export a select that casts the column to float8. {kept}"
        )
    if "dimensions" in text:
        return DuckDBError(
            f"{begin}an array has more than one dimension, which a list of Parquet has not; export "
            f"a select that casts the column to jsonb or text. {kept}"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return DuckDBError(
            f"{begin}it needs more than DUCKDB_MEMORY_LIMIT; raise that, lower "
            f"DUCKDB_THREADS, or choose a shorter period. {kept}"
        )
    if isinstance(error, duckdb.InterruptException):
        return DuckDBError(f"{begin}it was interrupted. {kept}")
    return DuckDBError(f"{begin}{text}. {kept}")
