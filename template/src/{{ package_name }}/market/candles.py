"""Trades and daily bars as hypertables, and the candles that TimescaleDB keeps of the trades.

Hourly candles come from the trades, daily ones from the hourly, weekly and monthly from the daily.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Select, extract, func, literal_column, select

from ..data_layer.database import Database, ReadSession, fetch_all, statement
from ..data_layer.timescaledb import (
    KEEP,
    Backfilled,
    ContinuousAggregate,
    Hypertable,
    backfill,
    first,
    last,
    refresh,
    time_bucket,
)
from .models import DailyBar, Instrument, Trade
from .samples import Tick

# The samples are of 2011 to 2013, so any period would drop them on the first day. A desk that
# writes its own trades says for how long it needs each of them, for example retention="2 years".
Hypertable(
    Trade.executed_at,
    segment_by=["instrument_id"],
    order_by=["executed_at DESC", "sequence DESC"],
    retention=KEEP,
)
Hypertable(DailyBar.day, segment_by=["instrument_id"], retention=KEEP)


def _of_trades(width: str) -> Select[*tuple[Any, ...]]:
    bucket = time_bucket(width, Trade.executed_at)
    # Trades of one instant are told apart by their sequence. A fraction far below a microsecond:
    # `first` and `last` take one sortable value, and a row of two can't be aggregated in parts.
    order = extract("epoch", Trade.executed_at) + Trade.sequence * literal_column("1e-16")
    return select(
        Trade.instrument_id,
        bucket.label("bucket"),
        first(Trade.price, order).label("open"),
        func.max(Trade.price).label("high"),
        func.min(Trade.price).label("low"),
        last(Trade.price, order).label("close"),
        func.sum(Trade.quantity).label("volume"),
        func.count().label("trades"),
    ).group_by(Trade.instrument_id, bucket)


def _of_candles(finer: ContinuousAggregate, width: str) -> Select[*tuple[Any, ...]]:
    candle = finer.c
    bucket = time_bucket(width, candle.bucket)
    return select(
        candle.instrument_id,
        bucket.label("bucket"),
        first(candle.open, candle.bucket).label("open"),
        func.max(candle.high).label("high"),
        func.min(candle.low).label("low"),
        last(candle.close, candle.bucket).label("close"),
        func.sum(candle.volume).label("volume"),
        func.sum(candle.trades).label("trades"),
    ).group_by(candle.instrument_id, bucket)


# The newest hour is computed from the trades when it is asked for; the levels above answer with
# complete buckets alone.
HOURLY = ContinuousAggregate("candles_hourly", _of_trades("1 hour"), real_time=True)
DAILY = ContinuousAggregate("candles_daily", _of_candles(HOURLY, "1 day"))
WEEKLY = ContinuousAggregate("candles_weekly", _of_candles(DAILY, "1 week"))
MONTHLY = ContinuousAggregate("candles_monthly", _of_candles(DAILY, "1 month"))
LEVELS = (HOURLY, DAILY, WEEKLY, MONTHLY)


@dataclass(frozen=True, slots=True)
class Candle:
    """What happened to one instrument from `bucket` (UTC) until the next."""

    bucket: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int
    trades: int


@dataclass(frozen=True, slots=True)
class Close:
    """The last price of a bucket; where nothing was traded, `traded` is False and it is the one
    before. None when there is none before either.
    """

    bucket: datetime
    close: Decimal | None
    traded: bool


@dataclass(frozen=True, slots=True)
class LatestTrade:
    """The last trade of one instrument."""

    symbol: str
    executed_at: datetime
    price: Decimal
    quantity: int


async def candles(
    session: ReadSession,
    level: ContinuousAggregate,
    symbol: str,
    *,
    since: datetime,
    until: datetime,
) -> list[Candle]:
    """The candles of one of `LEVELS` that begin from `since` up to, not including, `until`."""
    columns = [column for column in level.c if column.name != "instrument_id"]
    query = (
        select(*columns)
        .join(Instrument, Instrument.id == level.c.instrument_id)
        .where(Instrument.symbol == symbol, level.c.bucket >= since, level.c.bucket < until)
        .order_by(level.c.bucket)
    )
    return await fetch_all(session, query, Candle)


async def closes(
    session: ReadSession, symbol: str, *, every: timedelta, since: datetime, until: datetime
) -> list[Close]:
    """One price for every bucket of `every`, with the last observation carried over the gaps."""
    return await fetch_all(
        session,
        statement(__package__, "sql/timescaledb/closes.sql"),
        Close,
        symbol=symbol,
        every=every,
        since=since,
        until=until,
    )


async def latest_trades(session: ReadSession) -> list[LatestTrade]:
    """The last trade of every instrument that has one, by symbol."""
    return await fetch_all(
        session, statement(__package__, "sql/timescaledb/latest_trades.sql"), LatestTrade
    )


async def trades(
    session: ReadSession, symbol: str, *, since: datetime, until: datetime
) -> list[Tick]:
    """The trades of `symbol` from `since` up to, not including, `until`, the earliest first."""
    return await fetch_all(
        session,
        statement(__package__, "sql/timescaledb/trades.sql"),
        Tick,
        symbol=symbol,
        since=since,
        until=until,
    )


async def correct(database: Database, ticks: list[Tick]) -> Backfilled:
    """Bring in trades that came late or were corrected, and the candles that they touch."""
    async with database.read_only() as session:
        found = await session.execute(select(Instrument.symbol, Instrument.id))
        ids = {row.symbol: row.id for row in found}
    return await backfill(
        database,
        Trade,
        [(ids[symbol], *trade) for symbol, *trade in ticks],
        key=["instrument_id", "executed_at", "sequence"],
    )


async def story(database: Database, console: Console) -> None:
    """Show the candles of every level, and a correction on its way through them."""
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
