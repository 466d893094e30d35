"""What `check` asks about the lake: DL-DU."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime

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
# How many files of each export the check compares; `export verify` compares all.
COUNTED = 3


def duckdb_checks(open_lake: Callable[[], Lake], declare: Callable[[], None]) -> list[Check]:
    """The checks of the lake, in the order of the report.

    Args:
        open_lake: opens the lake; each check calls it.
        declare: imports the modules that declare exports.
    """
    lake = _Lake(open_lake, declare)
    return [
        Check("DL-DU-01", "The lake is there and can be written", lake.folder),
        Check("DL-DU-02", "Exports are as young as they are declared", lake.ages),
        Check(
            "DL-DU-03",
            "The files of an export have the columns that it declares",
            lake.columns,
        ),
        Check("DL-DU-04", "No killed export has left files", lake.orphans, required=False),
        Check("DL-DU-05", "Files and database have the same rows", lake.rows),
        Check("DL-DU-06", "DuckDB loads its reader of PostgreSQL", lake.extension),
    ]


class _Lake:
    def __init__(self, open_lake: Callable[[], Lake], declare: Callable[[], None]) -> None:
        self._open = open_lake
        self._declare = declare

    def _exports(self) -> list[Export]:
        self._declare()
        return exports()

    async def folder(self) -> Finding:
        folder = self._open().folder
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

    async def ages(self) -> Finding:
        lake = self._open()
        never, late, told, well = [], [], [], []
        ages = {}
        for export in self._exports():
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

    async def columns(self) -> Finding:
        lake = self._open()
        faults, count = [], 0
        async with Database.open() as database:
            for export in self._exports():
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

    async def orphans(self) -> Finding:
        found = await asyncio.to_thread(self._open().orphans)
        if found:
            return advice(
                f"{len(found)} files of a killed export: {found[0].name}.",
                "Run `export prune`, or the export again.",
            )
        return passed("No file of a killed export.")

    async def rows(self) -> Finding:
        lake = self._open()
        wrong: list[str] = []
        waiting: list[str] = []
        counted = []
        async with Database.open() as database:
            for export in self._exports():
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

    async def extension(self) -> Finding:
        await asyncio.to_thread(_load, self._open())
        return passed(f"DuckDB {duckdb.__version__} loads it from its wheel, without a network.")


def _load(lake: Lake) -> None:
    with limited(lake.settings) as connection:
        load(connection, lake.settings)
