"""The lake: a folder of Parquet files, named by what they hold, and never partial."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ..atomic import leftovers
from ..series import InvalidSeriesName, SeriesName
from .declarations import Export
from .errors import DuckDBError
from .settings import DuckDBSettings

_DONE = "The time of this file is that of the last complete export.\n"


@dataclass(frozen=True, slots=True, order=True)
class LakeFile:
    """One file of an export; `begin` and `end` bound its period, `end` excluded."""

    begin: date
    end: date
    path: Path


class Lake:
    """A folder for exports, with the limits under which DuckDB reads and writes it.

    Args:
        settings: the limits.
        folder: holds all files; by default what the settings say.
    """

    def __init__(self, settings: DuckDBSettings, folder: Path | None = None) -> None:
        self.settings = settings
        self.folder = folder or settings.lake_folder()

    def path(self, export: Export, begin: date) -> Path:
        """The file of the period that begins with `begin`."""
        last = export.period.after(begin) - timedelta(days=1)
        return self.folder / str(SeriesName(*export.series, begin, last))

    def files(self, export: Export) -> list[LakeFile]:
        """The files of an export, by time.

        Raises:
            DuckDBError: the files with these names belong to another export.
        """
        if not self.folder.is_dir():
            return []
        self._refuse_another(export)
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    name = SeriesName.parse(entry.name)
                except InvalidSeriesName:
                    continue
                if name.series == export.series and name.suffix == "parquet":
                    end = name.end + timedelta(days=1)
                    found.append(LakeFile(name.start, end, self.folder / entry.name))
        return sorted(found)

    def orphans(self, export: Export | None = None) -> list[Path]:
        """The files that killed exports have left, or only those of `export`.

        The files that a running export writes are not among them.
        """
        begin = "." if export is None else f".{'_'.join(export.series)}_"
        return [
            path
            for path in leftovers(self.folder)
            if path.parent == self.folder and path.name.startswith(begin)
        ]

    def exported_at(self, export: Export) -> datetime | None:
        """When the export last ended without an error; None when it never did."""
        lock = self.lock(export)
        if self._owner(lock)[1] != _DONE:
            return None
        return datetime.fromtimestamp(lock.stat().st_mtime, UTC)

    def lock(self, export: Export) -> Path:
        """The hidden file that says which export has the files, and when it was last complete."""
        return self.folder / f".{'_'.join(export.series)}.lock"

    @contextmanager
    def writing(self, export: Export) -> Iterator[None]:
        """Let this process alone write the files of an export.

        When the block ends without an error the export counts as done now.

        Raises:
            DuckDBError: another process runs this export, the files with these names belong to
                another export, or the folder can't be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self.lock(export).open("a", encoding="utf-8")
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
            self._refuse_another(export)
            if lock.tell() == 0:
                lock.write(f"{export.name}\n")
                lock.flush()
            yield
            lock.truncate(0)
            lock.write(f"{export.name}\n{_DONE}")
            lock.flush()
            os.utime(lock.fileno())

    def _refuse_another(self, export: Export) -> None:
        lock = self.lock(export)
        owner, _ = self._owner(lock)
        if owner not in ("", export.name):
            raise DuckDBError(
                f"The files {'_'.join(export.series)}_* in {self.folder} are those of the export "
                f"{owner}: give {export.name} another source, asset or timeframe. If {owner} is "
                f"its former name, remove {lock}."
            )

    def _owner(self, lock: Path) -> tuple[str, str]:
        """The export that the files belong to, and `_DONE` once it has ended without an error."""
        try:
            owner, _, done = lock.read_text(encoding="utf-8").partition("\n")
        except (FileNotFoundError, NotADirectoryError):
            return "", ""
        return owner, done
