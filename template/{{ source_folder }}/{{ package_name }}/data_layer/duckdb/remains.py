"""What DuckDB leaves on the disk when the module is switched off."""

from ..modules.remains import Remains
from .lake import Lake


async def remains(lake: Lake) -> list[Remains]:
    """The files of the lake: they stay, and .gitignore no longer hides them."""
    files = sum(1 for _ in lake.folder.glob("*.parquet"))
    if not files:
        return []
    return [
        Remains(
            f"{files:,} Parquet files stay in {lake.folder}: delete them, or put the folder into "
            ".gitignore before the next commit, where the update takes that line out.",
            lost=False,
        )
    ]
