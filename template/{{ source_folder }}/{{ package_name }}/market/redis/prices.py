"""The last price of an instrument: asked all the time, computed from the tape, so it is cached."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import select

from ...data_layer.database import Database, WriteSession, fetch_all
from ...data_layer.redis import Cache, Computed, Source, TimeToLive
from .. import samples
from ..models import Instrument, Trade
from ..samples import Tick


@dataclass(frozen=True, slots=True)
class LastPrice:
    """The price of the last trade of one instrument, in its currency."""

    symbol: str
    price: Decimal
    executed_at: datetime


TAPE = Source("tape")
LAST_PRICES = Computed(
    "last-price",
    # The None of an unknown symbol is cached too, so that asking for it again is cheap.
    LastPrice,
    TimeToLive(timedelta(minutes=5)),
    of=(TAPE,),
    absent=TimeToLive(timedelta(seconds=30)),
)


async def last_price(cache: Cache, database: Database, symbol: str) -> LastPrice | None:
    """The last price of `symbol`, cached; None when it has never been traded."""

    async def load() -> LastPrice | None:
        return await newest(database, symbol)

    return await cache.get(LAST_PRICES, symbol, load)


async def newest(database: Database, symbol: str) -> LastPrice | None:
    """The last price of `symbol` as the database has it."""
    query = (
        select(Instrument.symbol, Trade.price, Trade.executed_at)
        .join(Instrument, Instrument.id == Trade.instrument_id)
        .where(Instrument.symbol == symbol)
        .order_by(Trade.executed_at.desc(), Trade.sequence.desc())
        .limit(1)
    )
    async with database.read_only() as session:
        found = await fetch_all(session, query, LastPrice)
    return found[0] if found else None


async def record(cache: Cache, session: WriteSession, ticks: Iterable[Tick]) -> int:
    """Write trades, and drop cached prices once they are committed; returns how many trades."""
    written = await samples.load_trades(session, ticks)
    cache.changed(session, TAPE)
    return written
