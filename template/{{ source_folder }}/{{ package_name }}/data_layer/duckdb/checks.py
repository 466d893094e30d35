"""What `check` asks about the lake: DL-DU."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias

import duckdb

from ..checklist import Check, Finding, advice, failed, passed
from ..database import Database
from .columns import plan
from .connection import limited
from .declarations import Export, exports
from .errors import DuckDBError
from .extension import load
from .lake import Lake
from .unite import conflicts
from .verify import compare

# An export that runs once a day is not late after 25 hours.
PATIENCE = 1.5
# Files of each export whose rows are counted; `export verify` counts all.
COUNTED = 3

OpenLake: TypeAlias = Callable[[], Lake]
Declared: TypeAlias = Callable[[], list[Export]]
Asked: TypeAlias = Callable[[], Awaitable[Finding]]


def duckdb_checks(open_lake: OpenLake, declare: Callable[[], None]) -> list[Check]:
    """The checks of the lake, in the order of the report.

    Args:
        open_lake: called by each check.
        declare: imports the modules that declare exports.
    """

    def declared() -> list[Export]:
        declare()
        return exports()

    def check(number: int, title: str, probe: Asked, *, required: bool = True) -> Check:
        return Check(f"DL-DU-{number:02}", title, probe, required)

    columns, counts = partial(_columns, open_lake, declared), partial(_rows, open_lake, declared)
    return [
        check(1, "The lake is there and can be written", partial(_folder, open_lake)),
        check(2, "Exports are as young as they are declared", partial(_ages, open_lake, declared)),
        check(3, "The files of an export have the columns that it declares", columns),
        check(4, "No killed export has left files", partial(_orphans, open_lake), required=False),
        check(5, "Files and database have the same rows", counts),
        check(6, "DuckDB loads its reader of PostgreSQL", partial(_extension, open_lake)),
    ]


async def _folder(open_lake: OpenLake) -> Finding:
    folder = open_lake().folder
    remedy = "Set DUCKDB_LAKE to a folder that this user can write."
    if folder.exists() and not folder.is_dir():
        return failed(f"{folder} is a file, and no folder.", remedy)
    there = folder
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        return failed(f"{there} can't be written.", remedy)
    if there != folder:
        return passed(f"{folder} is made by the first export.")
    disk = await asyncio.to_thread(os.statvfs, folder)
    free = disk.f_bavail * disk.f_frsize / 1e9
    return passed(f"{folder} can be written; {free:.0f} GB are free.")


async def _ages(open_lake: OpenLake, declared: Declared) -> Finding:
    lake = open_lake()
    never, late, told, well = [], [], [], []
    ages = {}
    for export in declared():
        at = lake.exported_at(export)
        if at is None:
            never.append(export.name)
            continue
        ages[f"age of {export.name}"] = (datetime.now(UTC) - at).total_seconds()
        if export.every is not None and datetime.now(UTC) - at > export.every * PATIENCE:
            late.append(export.name)
            told.append(f"{export.name} ran last {at:%Y-%m-%d %H:%M}, not every {export.every}")
        else:
            well.append(export.name)
    found = passed(f"In time: {', '.join(well)}.")
    if late:
        found = failed(
            f"Late: {'; '.join(told)}.",
            f"Run `export run {' '.join(late)}`, and mend the job that should have run it.",
        )
    elif never:
        found = advice(
            f"Never exported: {', '.join(never)}.", f"Run `export run {' '.join(never)}`."
        )
    elif not well:
        found = advice("No export is declared yet.", "See docs/data-layer/duckdb.md.")
    return found.measured(ages)


async def _columns(open_lake: OpenLake, declared: Declared) -> Finding:
    lake = open_lake()
    faults, count = [], 0
    async with Database.open() as database:
        for export in declared():
            paths = [file.path for file in lake.files(export)]
            if not paths:
                continue
            count += len(paths)
            planned = await plan(database, export)
            try:
                found = await asyncio.to_thread(conflicts, planned, paths)
            except DuckDBError as error:
                found = [str(error).rstrip(".")]
            faults += [f"{export.name}: {fault}" for fault in found]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        return failed(
            f"{'; '.join(faults[:3])}{more}.",
            "Export a select that casts the column to its former type or labels it with a new "
            "name; `export run NAME --since` with the day of a file writes it anew.",
        )
    return passed(f"{count} files, whose columns unite with those of their exports.")


async def _orphans(open_lake: OpenLake) -> Finding:
    found = await asyncio.to_thread(open_lake().orphans)
    if found:
        return advice(
            f"{len(found)} files of a killed export: {found[0].name}.",
            "Run `export prune`, or the export again.",
        )
    return passed("No file of a killed export.")


async def _rows(open_lake: OpenLake, declared: Declared) -> Finding:
    lake = open_lake()
    wrong: list[str] = []
    waiting: list[str] = []
    counted = []
    async with Database.open() as database:
        for export in declared():
            if not lake.files(export):
                continue
            for one in await compare(database, lake, export, newest=COUNTED):
                if not one.agrees:
                    (wrong if one.due else waiting).append(one.sentence)
            counted.append(export.name)
    if wrong:
        return failed(
            " ".join(wrong),
            "Run `export run NAME --since` with the first of these days; "
            "`export verify` asks about all files.",
        )
    if waiting:
        return advice(" ".join(waiting), "Nothing is wrong: run `export run`, or wait for it.")
    return passed(f"The newest files agree: {', '.join(counted) or 'none there yet'}.")


async def _extension(open_lake: OpenLake) -> Finding:
    await asyncio.to_thread(_load, open_lake())
    return passed(f"DuckDB {duckdb.__version__} loads it from its wheel, without a network.")


def _load(lake: Lake) -> None:
    with limited(lake.settings) as connection:
        load(connection, lake.settings)
