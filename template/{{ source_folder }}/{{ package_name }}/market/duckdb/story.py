"""The part of the story that `demo` tells of years of history."""

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ...data_layer.database import Database
from ...data_layer.duckdb import DuckDBSettings, Lake, analysis, export, sql_file
from .history import BARS, TRADES, compute_indicators, plot


async def story(database: Database, console: Console) -> None:
    """Export the history, query it, write indicators back, and draw them."""
    console.rule("Analytics: Parquet, DuckDB, and back")
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(DuckDBSettings(lake=Path(folder), threads=1))
        for one in (TRADES, BARS):
            done = await export(database, lake, one)
            size = sum(path.stat().st_size for path in done.files)
            console.print(
                f"{one.name}: {done.rows:,} rows in {len(done.files)} files, {size / 1e6:.1f} MB."
            )
        _show_years(lake, console)
        for attempt in ("first", "again"):
            back = await compute_indicators(database, lake, run_id="demo")
            console.print(
                f"Indicators, {attempt}: "
                + ("nothing to do." if back.repeated else f"{back.inserted:,} rows written back.")
            )
    picture = Path(tempfile.mkdtemp(prefix="indicators-")) / "AAPL.png"
    await plot(database, "AAPL", picture)
    console.print(f"AAPL with its averages is drawn in {picture}", soft_wrap=True)


def _show_years(lake: Lake, console: Console) -> None:
    with analysis(lake) as opened:
        result = opened.query(sql_file(__package__, "sql/history.sql"), since="2011-01-01")
        table = Table(*(column[0] for column in result.description or ()), title="By year")
        for row in result.fetchmany(6):
            table.add_row(*map(str, row))
    console.print(table)
