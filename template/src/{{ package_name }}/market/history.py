"""Years of history: trades and bars as Parquet, indicators by DuckDB, back into PostgreSQL."""

import tempfile
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Double, ForeignKey, Numeric, select
from sqlalchemy.orm import Mapped, mapped_column

from ..data_layer.database import Base, Database, ReadSession
from ..data_layer.duckdb import (
    DuckDBSettings,
    Export,
    Lake,
    WrittenBack,
    analysis,
    export,
    sql_file,
    write_back,
)
from .models import DailyBar, Instrument, Price, Trade

SHORT, LONG = 20, 60

TRADES = Export(
    "trades",
    Trade,
    time=Trade.executed_at,
    period="month",
    # One instrument's trades lie together, so that a question about it skips the others.
    order_by=["instrument_id", "executed_at", "sequence"],
    every=timedelta(days=1),
)
BARS = Export(
    "daily_bars",
    select(
        DailyBar.instrument_id,
        Instrument.symbol,
        DailyBar.day,
        DailyBar.open,
        DailyBar.high,
        DailyBar.low,
        DailyBar.close,
        DailyBar.volume,
    ).join(Instrument, Instrument.id == DailyBar.instrument_id),
    time=DailyBar.day,
    period="year",
    order_by=["symbol", "day"],
    # An exchange may report a bar, or correct it, some days later.
    late=timedelta(days=7),
    every=timedelta(days=1),
    timeframe="1d",
)


class Indicator(Base):
    """What DuckDB computed of one instrument on one day; None until its window is full.

    `volatility` is that of a year, from the logarithms of daily returns.
    """

    __tablename__ = "indicators"

    instrument_id: Mapped[int] = mapped_column(ForeignKey("instruments.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    close: Mapped[Price]
    short_average: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    long_average: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    volatility: Mapped[float | None] = mapped_column(Double)
    run_id: Mapped[str] = mapped_column(index=True)


async def compute_indicators(database: Database, lake: Lake, *, run_id: str) -> WrittenBack:
    """Compute the indicators of all exported bars and bring them into their table, once a run."""
    with analysis(lake) as lakeside:
        result = lakeside.query(
            sql_file(__package__, "sql/duckdb/indicators.sql"), short=SHORT, long=LONG
        )
        return await write_back(
            database, Indicator, result, key=["instrument_id", "day"], run_id=run_id
        )


async def indicators(
    session: ReadSession, symbol: str, *, before: date, limit: int
) -> list[Indicator]:
    """At most `limit` days of `symbol` that are earlier than `before`, the newest first."""
    rows = await session.scalars(
        select(Indicator)
        .join(Instrument, Indicator.instrument_id == Instrument.id)
        .where(Instrument.symbol == symbol, Indicator.day < before)
        .order_by(Indicator.day.desc())
        .limit(limit)
    )
    return list(rows)


async def plot(database: Database, symbol: str, picture: Path) -> None:
    """Draw the closes of `symbol` with their averages into a file, such as a PNG.

    Needs matplotlib, which the group `analysis` brings.
    """
    from matplotlib.figure import Figure

    async with database.read_only() as session:
        rows = await indicators(session, symbol, before=date.max, limit=10_000)
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    days: Any = [row.day for row in rows]  # matplotlib knows dates, its types don't
    for label, values in (
        ("close", [row.close for row in rows]),
        (f"average of {SHORT} days", [row.short_average for row in rows]),
        (f"average of {LONG} days", [row.long_average for row in rows]),
    ):
        drawn = [float("nan") if value is None else float(value) for value in values]
        axes.plot(days, drawn, label=label)
    axes.set_title(f"{symbol}, daily")
    axes.set_ylabel("USD")
    axes.legend()
    figure.savefig(picture)


async def story(database: Database, console: Console) -> None:
    """Export the history, ask it, bring indicators back, and draw them."""
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
    with analysis(lake) as lakeside:
        result = lakeside.query(sql_file(__package__, "sql/duckdb/history.sql"), since="2011-01-01")
        table = Table(*(column[0] for column in result.description or ()), title="By year")
        for row in result.fetchmany(6):
            table.add_row(*map(str, row))
    console.print(table)
