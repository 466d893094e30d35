"""The part of the story that `demo` tells of files."""

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from ...data_layer.database import Database
from ...data_layer.files import (
    DataTree,
    FilesSettings,
    Folder,
    InvalidSeriesName,
    Remote,
    Series,
    SeriesName,
    gaps,
    row_count,
)
from ...data_layer.project import root
from ..models import DailyBar
from .archive import archive, path_of

SAMPLES = Series("quandl", "stocks", "1d")
# The name that somebody would choose who knows the instrument but not the convention.
WRONG = "quandl_AAPL_1d_2012.parquet"


async def story(database: Database, console: Console) -> None:
    """Archive the samples, lose a file, see which days are gone, and get them from the remote."""
    console.rule("Files: named so that gaps are seen")
    async with database.read_only() as session:
        stored = await session.scalar(select(func.count()).select_from(DailyBar)) or 0
    with tempfile.TemporaryDirectory() as folder:
        tell(Path(folder), stored, console)


def tell(folder: Path, stored: int, console: Console) -> None:
    """Tell the story in a data tree of its own, with a folder beside it as the shared disk.

    Args:
        folder: an empty one.
        stored: how many bars the database holds.
        console: shows the story.
    """
    tree = DataTree(folder / "data")
    disk = folder / "disk"
    disk.mkdir()
    settings = FilesSettings(_env_file=None, remote_url=disk.as_uri())
    remote = Remote(settings, tree)
    [sample] = (root() / "data" / Folder.SAMPLES).glob(SAMPLES.glob("csv"))

    names = archive(sample, tree)
    _show(tree, names, sample, console)
    rows = sum(row_count(tree.path(path_of(name))) or 0 for name in names)
    console.print(f"{rows:,} rows in {len(names)} files; daily_bars has {stored:,}.")
    try:
        SeriesName.parse(WRONG)
    except InvalidSeriesName as error:
        console.print(f"Refused: {error}", markup=False)

    for name in names:
        remote.push(path_of(name))
    lost = next(name for name in names if name.start.month == name.start.day == 1)
    tree.path(path_of(lost)).unlink()
    left = [SeriesName.parse(path.name) for path in tree.files(Folder.PROCESSED)]
    for gap in gaps(left):
        console.print(f"{lost} is lost: {'_'.join(gap.series)} lacks {gap.start} to {gap.end}.")
    for attempt in ("first", "again"):
        before = remote.cache.used()
        with remote.open(path_of(lost)) as copy:
            fetched = f"{remote.cache.used() - before:,} bytes fetched"
            console.print(f"Read from the remote, {attempt}: {row_count(copy)} rows, {fetched}.")


def _show(tree: DataTree, names: list[SeriesName], sample: Path, console: Console) -> None:
    paths = {name: tree.path(path_of(name)) for name in names}
    table = Table(
        *("series", "files", "from", "to", "rows", "bytes"),
        title="data/processed/",
        caption=f"The same as one CSV: {sample.stat().st_size:,} bytes",
    )
    for series in dict.fromkeys(name.series for name in names):
        own = [name for name in names if name.series == series]
        table.add_row(
            "_".join(series),
            f"{len(own)}",
            f"{own[0].start}",
            f"{own[-1].end}",
            f"{sum(row_count(paths[name]) or 0 for name in own):,}",
            f"{sum(paths[name].stat().st_size for name in own):,}",
        )
    console.print(table)
