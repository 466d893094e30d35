"""The last price of an instrument: asked all the time, computed from the tape, so it is cached."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from time import perf_counter

from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from ..data_layer.database import Database, WriteSession, fetch_all
from ..data_layer.redis import Cache, Computed, Source, Store, TimeToLive
from . import samples
from .models import Instrument, Trade
from .samples import Tick


@dataclass(frozen=True, slots=True)
class LastPrice:
    """The price of the last trade of one instrument, in its currency."""

    symbol: str
    price: Decimal
    executed_at: datetime


TAPE = Source("tape")
LAST_PRICES = Computed(
    "last-price",
    # None of an unknown symbol is remembered too, so that asking for it again is cheap.
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
    """Bring trades in, and drop older prices once they are committed; returns how many."""
    written = await samples.load_trades(session, ticks)
    cache.changed(session, TAPE)
    return written


async def story(database: Database, console: Console) -> None:
    """Show the layers of the cache, and a trade on its way through them."""
    console.rule("Cache: last prices")
    async with (
        Store.open() as store,
        Store.open() as another,
        Cache.open(store) as here,
        Cache.open(another) as there,
    ):
        async with asyncio.timeout(10):
            await here.hearing()
            await there.hearing()
        symbol = next(samples.bars()).symbol
        table = Table("asked", "price", "answered by", "ms")
        for who, cache in (("first", here), ("again", here), ("in another process", there)):
            before = dict(cache.store.counts)
            started = perf_counter()
            price = await last_price(cache, database, symbol)
            took = (perf_counter() - started) * 1000
            after = cache.store.counts
            [source] = [
                layer
                for name, layer in (
                    ("hits_local", "the process"),
                    ("hits", "Redis"),
                    ("loads", "PostgreSQL"),
                )
                if after[name] > before.get(name, 0)
            ]
            table.add_row(who, f"{price.price:.2f}" if price else "", source, f"{took:.2f}")
        console.print(table)
        if price is None:
            return
        late = Tick(symbol, price.executed_at + timedelta(seconds=1), 0, price.price * 2, 1)
        async with database.transaction() as session:
            await record(here, session, [late])
        started = perf_counter()
        seen: LastPrice | None = price
        while seen == price:
            await asyncio.sleep(0)  # a hit within the process lets nobody else run
            seen = await last_price(there, database, symbol)
        took = (perf_counter() - started) * 1000
        console.print(
            f"A trade at {late.price:.2f} was committed; the other process saw it {took:.1f} ms "
            f"later, as {seen.price if seen else 0:.2f}."
        )
