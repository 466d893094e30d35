"""The daily report as a task: a worker makes it, every morning or when somebody asks."""

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from taskiq import TaskiqDepends

from ..data_layer.database import Database
from ..data_layer.redis import Store
from ..data_layer.redis.limits import Limit, Limiter
from ..data_layer.redis.queue import Queue, run_worker, task
from . import queries
from .models import Trade

ROWS = TypeAdapter(list[queries.Turnover])


@task("market.daily-report", attempts=5, backoff=30, timeout=120, schedule="30 6 * * 1-5")
async def daily_report(
    day: date | None = None, *, database: Database = TaskiqDepends()
) -> list[dict[str, Any]]:
    """What was traded on a day (UTC), by instrument; by default on the day before today.

    It reads only, so it may run twice. A task that writes takes the id of what it writes from its
    arguments, and lets a unique constraint decide.
    """
    day = day or datetime.now(UTC).date() - timedelta(days=1)
    since = datetime.combine(day, datetime.min.time(), UTC)
    async with database.read_only() as session:
        rows = await queries.turnover(session, since=since, until=since + timedelta(days=1))
    report: list[dict[str, Any]] = ROWS.dump_python(rows, mode="json")
    return report


async def story(database: Database, console: Console) -> None:
    """Place too many orders, and let a worker make the report."""
    await _hurry(console)
    await _report(database, console)


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
