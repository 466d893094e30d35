"""Daily bars as files: a Parquet file for each instrument and year, named so that gaps show."""

from datetime import date
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from ...data_layer.files import (
    DataTree,
    Folder,
    SeriesName,
    batches,
    write,
)

PRICE = pa.decimal128(12, 4)
BARS = pa.schema(
    {
        "symbol": pa.string(),
        "day": pa.date32(),
        "open": PRICE,
        "high": PRICE,
        "low": PRICE,
        "close": PRICE,
        "volume": pa.int64(),
    }
)


def archive(bars: Path, tree: DataTree) -> list[SeriesName]:
    """Write the bars of a file into `processed/`, and return the names of what was written.

    Args:
        bars: a file named by the convention, so that its name says which days it covers.
        tree: where the files go; those of an earlier run are replaced.
    """
    whole = SeriesName.parse(bars.name)
    table = batches(bars, schema=BARS).read_all()
    names = []
    for symbol in sorted(pc.unique(table["symbol"]).to_pylist()):
        of_symbol = table.filter(pc.field("symbol") == symbol)
        listed = pc.min(of_symbol["day"]).as_py()
        for year in sorted(pc.unique(pc.year(of_symbol["day"])).to_pylist()):
            name = SeriesName(
                whole.source,
                symbol.lower(),
                whole.timeframe,
                max(listed, date(year, 1, 1)),
                min(whole.end, date(year, 12, 31)),
            )
            of_year = of_symbol.filter(pc.year(pc.field("day")) == year)
            write(tree.path(path_of(name)), of_year.drop_columns(["symbol"]))
            names.append(name)
    return names


def path_of(name: SeriesName) -> str:
    """Where the file stands within the data tree, and on the remote."""
    return f"{Folder.PROCESSED}/{name.source}/{name}"
