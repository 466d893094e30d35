"""What `check` asks about the lake: DL-DU."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime

import duckdb
import psycopg
from sqlalchemy.exc import DBAPIError

from ..checklist import Check, Finding, advice, failed, passed
from ..database import Database
from .connection import limited
from .declarations import Export, exports
from .errors import DuckDBError
from .export import schema_of
from .extension import load
from .lake import Lake
from .verify import compare

# An export that runs once a day is not late after 25 hours.
PATIENCE = 1.5
# Periods whose rows are counted; `export verify` counts all.
COUNTED = 3


def duckdb_checks(open_lake: Callable[[], Lake], declare: Callable[[], None]) -> list[Check]:
    """The checks of the lake, in the order of the report.

    Args:
        open_lake: called by each check that looks into the lake.
        declare: imports the modules that declare exports.
    """
    survey = _Survey(open_lake, declare)
    return [
        Check("DL-DU-01", "The lake is there and can be written", survey.folder),
        Check("DL-DU-02", "Exports are as young as they are declared", survey.ages),
        Check("DL-DU-03", "The files of an export have the same columns", survey.schemas),
        Check("DL-DU-04", "No killed export has left files", survey.orphans, required=False),
        Check("DL-DU-05", "Files and database have the same rows", survey.rows),
        Check("DL-DU-06", "DuckDB loads its reader of PostgreSQL", survey.extension),
    ]


class _Survey:
    def __init__(self, open_lake: Callable[[], Lake], declare: Callable[[], None]) -> None:
        self._open = open_lake
        self._declare = declare

    @property
    def lake(self) -> Lake:
        return self._open()

    def exports(self) -> list[Export]:
        self._declare()
        return exports()

    async def folder(self) -> Finding:
        folder = self.lake.folder
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
        free = await asyncio.to_thread(_free, self.lake)
        return passed(f"{folder} can be written; {free:.0f} GB are free.")

    async def ages(self) -> Finding:
        never, late, told, well = [], [], [], []
        for export in self.exports():
            at = self.lake.exported_at(export)
            if at is None:
                never.append(export.name)
                continue
            age = datetime.now(UTC) - at
            if export.every is not None and age > export.every * PATIENCE:
                late.append(export.name)
                told.append(f"{export.name} ran last {at:%Y-%m-%d %H:%M}, not every {export.every}")
            well.append(export.name)
        if late:
            return failed(
                f"Late: {'; '.join(told)}.",
                f"Run `export run {' '.join(late)}`, and see to what should have run it.",
            )
        if never:
            return advice(
                f"Never exported: {', '.join(never)}.", f"Run `export run {' '.join(never)}`."
            )
        if not well:
            return advice("No export is declared yet.", "See docs/data-layer/duckdb.md.")
        return passed(f"In time: {', '.join(well)}.")

    async def schemas(self) -> Finding:
        return await asyncio.to_thread(self._schemas)

    def _schemas(self) -> Finding:
        faults, count = [], 0
        for export in self.exports():
            files = self.lake.files(export)
            count += len(files)
            if not files:
                continue
            try:
                newest = schema_of(files[-1].path)
                others = [file for file in files if schema_of(file.path) != newest]
            except duckdb.Error as error:
                faults.append(f"a file of {export.name} can't be read ({error})")
                continue
            if others:
                names = ", ".join(file.path.name for file in others[:3])
                faults.append(
                    f"{len(others)} files of {export.name} differ from the newest: {names}"
                )
        if faults:
            return failed(
                f"{'; '.join(faults)}.",
                "Write them anew: `export run NAME --since` with the day of the first one.",
            )
        return passed(f"{count} files, each with the columns of its export.")

    async def orphans(self) -> Finding:
        found = self.lake.orphans()
        if found:
            return advice(
                f"{len(found)} files of a killed export: {found[0].name}.",
                "Run `export prune`, or the export again.",
            )
        return passed("No file of a killed export.")

    async def rows(self) -> Finding:
        faults, told = [], []
        async with Database.open() as database:
            for export in self.exports():
                if not self.lake.files(export):
                    continue
                try:
                    found = await compare(database, self.lake, export, newest=COUNTED)
                except (DBAPIError, psycopg.Error) as error:
                    raise DuckDBError(
                        f"The rows of {export.name} can't be counted: {error}"
                    ) from error
                faults += [one.sentence for one in found if not one.agrees]
                told.append(f"{export.name} in {len(found)} files")
        if faults:
            return failed(
                " ".join(faults),
                "Run `export run NAME --since` with the first of these days; "
                "`export verify` asks about all files.",
            )
        return passed(f"The newest files agree: {', '.join(told) or 'none there yet'}.")

    async def extension(self) -> Finding:
        return await asyncio.to_thread(self._extension)

    def _extension(self) -> Finding:
        with limited(self.lake.settings) as connection:
            load(connection, self.lake.settings)
        return passed(f"DuckDB {duckdb.__version__} loads it from its wheel, without a network.")


def _free(lake: Lake) -> float:
    about = os.statvfs(lake.folder)
    return about.f_bavail * about.f_frsize / 1e9
