"""What is in the data tree: one row for each series, and for each file that belongs to none."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from .coverage import Gap, gaps, series_names
from .tree import DataTree, Folder, printable


@dataclass(frozen=True, slots=True)
class Listed:
    """A series of files, or one file with a name of its own.

    Attributes:
        what: `source_asset_timeframe`, or the file's path within the folder.
        files: how many they are.
        start: the first day of the series.
        end: its last day.
        gaps: the days that it lacks between its files.
        size: in bytes, of all files together.
    """

    folder: Folder
    what: str
    files: int
    start: date | None
    end: date | None
    gaps: tuple[Gap, ...]
    size: int


def listing(tree: DataTree, folder: Folder) -> Iterator[Listed]:
    """The series of a folder by their names, then its other files."""
    series: dict[str, list[Path]] = {}
    others = []
    for path in tree.files(folder):
        for name in series_names([path]):
            series.setdefault("_".join(name.series), []).append(path)
            break
        else:
            others.append(path)
    for what, paths in sorted(series.items()):
        names = series_names(paths)
        yield Listed(
            folder=folder,
            what=what,
            files=len(paths),
            start=min(name.start for name in names),
            end=max(name.end for name in names),
            gaps=tuple(gaps(names)),
            size=sum(path.stat().st_size for path in paths),
        )
    for path in others:
        what = printable(path.relative_to(tree.folder(folder)).as_posix())
        yield Listed(folder, what, 1, None, None, (), path.stat().st_size)
