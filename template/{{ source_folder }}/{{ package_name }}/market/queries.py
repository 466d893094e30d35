"""The queries of the desk: aggregates in raw SQL, with typed rows as results.

The statements stand in `sql/`, where an editor and a linter know them as SQL.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import select

from ..data_layer.database import ReadSession, fetch_all, statement
from .models import DailyBar, Instrument


@dataclass(frozen=True, slots=True)
class Turnover:
    """What was traded of one instrument on one day (UTC); `amount` is in its currency."""

    day: date
    symbol: str
    trades: int
    quantity: int
    amount: Decimal
    average_price: Decimal


@dataclass(frozen=True, slots=True)
class Candle:
    """The bars of one week, which begins on Monday `week`, as one."""

    week: date
    days: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int


@dataclass(frozen=True, slots=True)
class Position:
    """What an account holds of one instrument; `free` is not yet promised to an open sale.

    `close` and `worth` are None while there is no bar of the instrument.
    """

    symbol: str
    quantity: int
    free: int
    close: Decimal | None
    worth: Decimal | None


@dataclass(frozen=True, slots=True)
class LatestBar:
    """The last day of one instrument."""

    symbol: str
    name: str
    day: date
    close: Decimal
    volume: int


async def turnover(session: ReadSession, *, since: datetime, until: datetime) -> list[Turnover]:
    """The turnover by day and instrument from `since` up to, not including, `until`."""
    return await fetch_all(
        session, statement(__package__, "sql/turnover.sql"), Turnover, since=since, until=until
    )


async def weekly_candles(
    session: ReadSession, symbol: str, *, before: date, limit: int
) -> list[Candle]:
    """At most `limit` weeks of `symbol`, the newest first, from bars earlier than `before`."""
    return await fetch_all(
        session,
        statement(__package__, "sql/weekly_candles.sql"),
        Candle,
        symbol=symbol,
        before=before,
        limit=limit,
    )


async def positions(session: ReadSession, account_id: UUID) -> list[Position]:
    """What an account holds, by symbol."""
    return await fetch_all(
        session, statement(__package__, "sql/positions.sql"), Position, account_id=account_id
    )


async def latest_bars(session: ReadSession) -> list[LatestBar]:
    """The last day of every instrument that has one, by symbol."""
    return await fetch_all(session, statement(__package__, "sql/latest_bars.sql"), LatestBar)


async def daily_bars(
    session: ReadSession, symbol: str, *, before: date, limit: int
) -> list[DailyBar]:
    """At most `limit` bars of `symbol` that are earlier than `before`, the newest first."""
    rows = await session.scalars(
        select(DailyBar)
        .join(Instrument, DailyBar.instrument_id == Instrument.id)
        .where(Instrument.symbol == symbol, DailyBar.day < before)
        .order_by(DailyBar.day.desc())
        .limit(limit)
    )
    return list(rows)
