"""Years of history: trades and bars as Parquet, indicators by DuckDB, back into PostgreSQL."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from ...data_layer.database import Database, ReadSession
from ...data_layer.duckdb import (
    Export,
    Lake,
    WrittenBack,
    analysis,
    sql_file,
    write_back,
)
from ..models import DailyBar, Instrument, Trade
from .models import Indicator

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


async def compute_indicators(database: Database, lake: Lake, *, run_id: str) -> WrittenBack:
    """Compute the indicators of all exported bars and write them into their table, once a run."""
    with analysis(lake) as opened:
        result = opened.query(sql_file(__package__, "sql/indicators.sql"), short=SHORT, long=LONG)
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

    Needs matplotlib, which the dependency group `analysis` installs.
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
