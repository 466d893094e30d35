"""Read candles, closes and trades of an instrument, and write corrections of its trades."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import select

from ...data_layer.database import Database, ReadSession, fetch_all, statement
from ...data_layer.timescaledb import (
    Backfilled,
    ContinuousAggregate,
    backfill,
)
from ..models import Instrument, Trade
from ..samples import Tick


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
    """The last price of a bucket; if nothing was traded, `traded` is False, and `close` is the
    price before. None if there is none before either.
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
        statement(__package__, "sql/closes.sql"),
        Close,
        symbol=symbol,
        every=every,
        since=since,
        until=until,
    )


async def latest_trades(session: ReadSession) -> list[LatestTrade]:
    """The last trade of every instrument that has one, by symbol."""
    return await fetch_all(session, statement(__package__, "sql/latest_trades.sql"), LatestTrade)


async def trades(
    session: ReadSession, symbol: str, *, since: datetime, until: datetime
) -> list[Tick]:
    """The trades of `symbol` from `since` up to, not including, `until`, the earliest first."""
    return await fetch_all(
        session,
        statement(__package__, "sql/trades.sql"),
        Tick,
        symbol=symbol,
        since=since,
        until=until,
    )


async def correct(database: Database, ticks: list[Tick]) -> Backfilled:
    """Write trades that came late or were corrected, and refresh the candles that they touch."""
    async with database.read_only() as session:
        found = await session.execute(select(Instrument.symbol, Instrument.id))
        ids = {row.symbol: row.id for row in found}
    return await backfill(
        database,
        Trade,
        [(ids[symbol], *trade) for symbol, *trade in ticks],
        key=["instrument_id", "executed_at", "sequence"],
    )
