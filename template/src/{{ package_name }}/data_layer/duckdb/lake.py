"""The lake: a folder of Parquet files, named by what they hold, whole or not there at all."""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from ..settings import load
from .declarations import Export
from .errors import DuckDBError
from .settings import DuckDBSettings

PART = ".part"

_WORD = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_FILE = re.compile(rf"({_WORD})_({_WORD})_({_WORD})_(\d{{8}})_(\d{{8}})\.parquet")


class SeriesFile(NamedTuple):
    """The parts of a file name; `start` and `end` are the first and the last day of its period."""

    source: str
    asset: str
    timeframe: str
    start: date
    end: date


class Layout(Protocol):
    """Where the files are and how they are named."""

    @property
    def folder(self) -> Path:
        """The folder of all files."""

    def name(self, file: SeriesFile) -> str:
        """The name of a file; raises a DataLayerError where its parts can't stand in one."""

    def parse(self, name: str) -> SeriesFile | None:
        """What a file of that name holds; None when it is no name of a file of the lake."""


@dataclass(frozen=True, slots=True)
class PlainLayout:
    """Files by the standard's convention, `{source}_{asset}_{timeframe}_{start}_{end}.parquet`."""

    folder: Path

    def name(self, file: SeriesFile) -> str:
        """The name of a file."""
        name = (
            f"{file.source}_{file.asset}_{file.timeframe}"
            f"_{file.start:%Y%m%d}_{file.end:%Y%m%d}.parquet"
        )
        if self.parse(name) != file:
            raise DuckDBError(
                f"{name!r} can't be the name of a file: source, asset and timeframe are made of "
                "lowercase letters and digits with single hyphens between, and a year has four "
                "digits."
            )
        return name

    def parse(self, name: str) -> SeriesFile | None:
        """What a file of that name holds."""
        match = _FILE.fullmatch(name)
        if match is None:
            return None
        try:
            start, end = (datetime.strptime(day, "%Y%m%d").date() for day in match.group(4, 5))  # noqa: DTZ007 (days of UTC)
        except ValueError:
            return None
        return SeriesFile(match[1], match[2], match[3], start, end)


@dataclass(frozen=True, slots=True, order=True)
class LakeFile:
    """One file of an export; `begin` and `end` bound its period, `end` excluded."""

    begin: date
    end: date
    path: Path


class Lake:
    """A place for exports, with the limits under which DuckDB reads and writes it.

    Args:
        settings: the limits, and the folder where no layout says another.
        layout: where the files are and how they are named.
    """

    def __init__(self, settings: DuckDBSettings, layout: Layout | None = None) -> None:
        self.settings = settings
        self.layout = layout or PlainLayout(settings.lake_folder())

    @classmethod
    def of_settings(cls) -> "Lake":
        """The lake of the environment and `.env`."""
        return cls(load(DuckDBSettings))

    @property
    def folder(self) -> Path:
        """The folder of all files."""
        return self.layout.folder

    def path(self, export: Export, begin: date) -> Path:
        """The file of the period that begins with `begin`."""
        end = export.period.after(begin) - timedelta(days=1)
        parts = SeriesFile(export.source, export.asset, export.timeframe, begin, end)
        return self.folder / self.layout.name(parts)

    def files(self, export: Export) -> list[LakeFile]:
        """The files of an export, by time."""
        found = []
        series = (export.source, export.asset, export.timeframe)
        if not self.folder.is_dir():
            return []
        for path in self.folder.iterdir():
            parts = self.layout.parse(path.name)
            if parts is not None and parts[:3] == series:
                found.append(LakeFile(parts.start, parts.end + timedelta(days=1), path))
        return sorted(found)

    def orphans(self) -> list[Path]:
        """Files that a killed export has left; those of a running one are not among them."""
        found = []
        if not self.folder.is_dir():
            return []
        for path in sorted(self.folder.glob(f".*{PART}")):
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
            found.append(path)
        return found

    def exported_at(self, export: Export) -> datetime | None:
        """When the export last ended well; None when it never did."""
        try:
            about = self._lock(export).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return datetime.fromtimestamp(about.st_mtime, UTC) if about.st_size else None

    @contextmanager
    def writing(self, export: Export) -> Iterator[None]:
        """The right to write files of an export, which one process at a time can have.

        When the block ends without an error the export counts as done now.

        Raises:
            DuckDBError: another process exports the same, or the folder can't be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self._lock(export).open("ab")
        except OSError as error:
            raise DuckDBError(
                f"The lake {self.folder} can't be written ({error.strerror}); set DUCKDB_LAKE "
                "to a folder that can."
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DuckDBError(
                    f"Another process exports {export.name} at this moment; wait until it ends."
                ) from None
            yield
            lock.truncate(0)
            lock.write(b"The time of this file is that of the last complete export.\n")
            lock.flush()
            os.utime(lock.fileno())

    @contextmanager
    def replacing(self, target: Path) -> Iterator["Part"]:
        """A hidden file to write; `Part.publish` makes it `target`, else it is removed."""
        path = target.with_name(f".{target.name}.{secrets.token_hex(6)}{PART}")
        part = Part(path, target, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
        try:
            # Held by this process alone: the kernel frees it whatever ends the process.
            fcntl.flock(part.held, fcntl.LOCK_EX)
            yield part
        finally:
            os.close(part.held)
            path.unlink(missing_ok=True)

    def _lock(self, export: Export) -> Path:
        return self.folder / f".{export.name}.lock"


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is being written."""

    path: Path
    target: Path
    held: int

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self.held)

    def publish(self) -> None:
        """Give the file its name, on the disk too when this returns."""
        self.path.replace(self.target)
        folder = os.open(self.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
