"""The part of the story that `demo` tells of time series."""

from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table

from ...data_layer.database import Database
from ...data_layer.timescaledb import refresh
from ..samples import Tick
from .candles import candles, closes, correct, latest_trades
from .models import LEVELS


async def story(database: Database, console: Console) -> None:
    """Show the candles of every level, and how a correction changes them."""
    console.rule("Time series: hypertables and continuous aggregates")
    for level in LEVELS:
        await refresh(database, level)
    async with database.read_only() as session:
        newest = max(await latest_trades(session), key=lambda trade: trade.executed_at)
        symbol = newest.symbol
        until = newest.executed_at + timedelta(days=40)
    await _show(database, console, symbol, until)
    spike = newest.price * 2
    late = Tick(symbol, newest.executed_at, 1_000_000, spike, 1)
    done = await correct(database, [late, late])
    touched = ", ".join(f"{name} {len(windows)}" for name, windows in done.refreshed.items())
    console.print(
        f"A late trade at {spike:.2f}, sent twice: {done.rows.inserted} row came in; windows "
        f"refreshed: {touched}."
    )
    await _show(database, console, symbol, until)
    day = newest.executed_at.replace(hour=0, minute=0, second=0, microsecond=0)
    async with database.read_only() as session:
        filled = await closes(
            session, symbol, every=timedelta(hours=1), since=day, until=day + timedelta(days=1)
        )
    shown = " ".join(f"{close.close:.0f}{'' if close.traded else '*'}" for close in filled)
    console.print(f"{symbol} by the hour of {day:%Y-%m-%d}, * carried forward: {shown}")


async def _show(database: Database, console: Console, symbol: str, until: datetime) -> None:
    table = Table(
        *("candles", "number", "newest", "open", "high", "low", "close"),
        title=f"{symbol}: every level, from the trades",
    )
    async with database.read_only() as session:
        for level in LEVELS:
            found = await candles(
                session, level, symbol, since=until - timedelta(days=4000), until=until
            )
            newest = found[-1]
            prices = (newest.open, newest.high, newest.low, newest.close)
            table.add_row(
                level.name.removeprefix("candles_"),
                f"{len(found):,}",
                f"{newest.bucket:%Y-%m-%d}",
                *(f"{price:.2f}" for price in prices),
            )
    console.print(table)
