"""The part of the story that `demo` tells of Redis."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from time import perf_counter

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from ...data_layer.database import Database
from ...data_layer.redis import Cache, Store
from ...data_layer.redis.limits import Limit, Limiter
from ...data_layer.redis.queue import Queue, run_worker
from .. import samples
from ..models import Trade
from ..samples import Tick
from .prices import LastPrice, last_price, record
from .reports import ROWS, daily_report


async def story(database: Database, console: Console) -> None:
    """Show the cache, how a trade changes it, too many orders, and the report of a worker."""
    await _cache(database, console)
    await _hurry(console)
    await _report(database, console)


async def _cache(database: Database, console: Console) -> None:
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


async def _hurry(console: Console) -> None:
    console.rule("Hurry: a limit that all processes share")
    limit = Limit("demo", quota=5, window=timedelta(minutes=1))
    async with Store.open() as store:
        limiter = Limiter(store)
        decisions = await asyncio.gather(*(limiter.take(limit, "Alice") for _ in range(20)))
    allowed = sum(decision.allowed for decision in decisions)
    wait = max(decision.free_in for decision in decisions)
    console.print(
        f"Alice tries 20 times at once; {limit.quota} a minute are allowed: {allowed} pass, "
        f"{20 - allowed} are told to come back in {wait:.0f} s."
    )


async def _report(database: Database, console: Console) -> None:
    console.rule("Report: a job for a worker")
    async with database.read_only() as session:
        last: datetime = (await session.execute(select(func.max(Trade.executed_at)))).scalar_one()
    stop = asyncio.Event()
    async with Queue.open() as queue, Queue.open() as of_worker:
        once = daily_report.once(f"{last:%Y-%m-%d}")
        jobs = [await queue.send(once, last.date()) for _ in range(3)]
        waiting = (await queue.state()).jobs
        console.print(f"Sent three times with one idempotency key: {waiting} job waits.")
        working = asyncio.create_task(run_worker(of_worker, stop, {Database: database}))
        try:
            result = await jobs[-1].wait_result(timeout=30)
        finally:
            stop.set()
            with suppress(asyncio.CancelledError):
                await working
    rows = ROWS.validate_python(result.return_value)
    table = Table(*("symbol", "trades", "quantity", "amount"), title=f"Report of {last:%Y-%m-%d}")
    for row in rows:
        table.add_row(row.symbol, f"{row.trades:,}", f"{row.quantity:,}", f"{row.amount:,.0f}")
    console.print(table)
