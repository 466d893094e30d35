"""The story that `demo` tells: the desk at work on real data. Every number in it is computed."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from time import perf_counter
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sqlalchemy import func, select

from ..data_layer.database import Base, Database, StaleVersion, Upserted
from . import orders, queries, samples
from .models import Account, DailyBar, Instrument, Order, Trade

# The last quarter of the samples is traded.
TRADED_SINCE = date(2012, 12, 1)
TRADES_PER_DAY = 80
SYMBOL = "AAPL"


class _Desk(NamedTuple):
    """The two accounts of the story."""

    alice: Account
    bob: Account


async def story(database: Database, console: Console) -> None:
    """Load the samples, ask questions, trade, collide and roll back, and show each of it."""
    await _load(database, console)
    await _ask(database, console)
    desk = await _open_accounts(database)
    await _trade(database, console, desk)
    await _collide(database, console, desk)
    await _roll_back(database, console, desk)


async def _load(database: Database, console: Console) -> None:
    console.rule("Load: COPY and upsert")
    bars = list(samples.bars())
    async with database.transaction() as session:
        instruments = await samples.load_instruments(session)
        first = await samples.load_bars(session, bars)
    async with database.transaction() as session:
        second = await samples.load_bars(session, bars)
    # Made beforehand, so that the clock measures the load alone.
    traded = (bar for bar in bars if bar.day >= TRADED_SINCE)
    trades = list(samples.trades_of(traded, per_day=TRADES_PER_DAY))
    columns = (TextColumn("trades"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=len(trades))
        started = perf_counter()
        async with database.transaction() as session:
            loaded = await samples.load_trades(
                session, trades, lambda rows: progress.update(task, completed=rows)
            )
        seconds = perf_counter() - started
    table = Table("table", "rows", "what happened")
    table.add_row("instruments", await _count(database, Instrument), _told(instruments))
    table.add_row("daily_bars", await _count(database, DailyBar), _told(first))
    table.add_row("", "", f"the same again: {_told(second)}")
    rate = f"{loaded:,} in {seconds:.2f} s, {loaded / seconds:,.0f} rows/s, synthetic"
    table.add_row("trades", await _count(database, Trade), rate)
    console.print(table)


async def _ask(database: Database, console: Console) -> None:
    console.rule("Ask: raw SQL with typed rows")
    async with database.read_only(snapshot=True) as session:
        latest = await queries.latest_bars(session)
        last = next(bar for bar in latest if bar.symbol == SYMBOL)
        candles = await queries.weekly_candles(session, SYMBOL, before=date.max, limit=5)
        midnight = datetime.combine(last.day, datetime.min.time(), UTC)
        traded = await queries.turnover(session, since=midnight, until=midnight + timedelta(days=1))
    table = Table(
        *("week of", "open", "high", "low", "close", "volume"),
        title=f"{last.name} ({SYMBOL}), weekly candles",
        caption=samples.SOURCE,
    )
    for candle in candles:
        prices = (candle.open, candle.high, candle.low, candle.close)
        table.add_row(f"{candle.week}", *(f"{price:.2f}" for price in prices), f"{candle.volume:,}")
    console.print(table)
    table = Table(
        *("symbol", "trades", "shares", "amount", "average price"),
        title=f"Turnover of {last.day}",
        caption="From the synthetic trades",
    )
    for row in traded:
        table.add_row(
            row.symbol,
            f"{row.trades:,}",
            f"{row.quantity:,}",
            f"{row.amount:,.0f}",
            f"{row.average_price:.2f}",
        )
    console.print(table)


async def _open_accounts(database: Database) -> _Desk:
    async with database.transaction() as session:
        desk = _Desk(
            Account(name="Alice", currency="USD", cash=Decimal("100000.00")),
            Account(name="Bob", currency="USD", cash=Decimal("500.00")),
        )
        session.add_all(desk)
    return desk


async def _trade(database: Database, console: Console, desk: _Desk) -> None:
    console.rule("Trade: account and order change together, or not at all")
    async with database.transaction() as session:
        bar = next(bar for bar in await queries.latest_bars(session) if bar.symbol == SYMBOL)
        limit = bar.close.quantize(Decimal("0.01"))
        order = await orders.place_order(
            session,
            account_id=desk.alice.id,
            symbol=SYMBOL,
            side="buy",
            quantity=100,
            limit_price=limit,
        )
    await _show(database, console, desk.alice, f"placed: buy 100 {SYMBOL} at {limit}")
    async with database.transaction() as session:
        order = await orders.amend_order(session, order.id, version=order.version, quantity=60)
    await _show(database, console, desk.alice, f"amended to 60, version {order.version}")
    price = limit - Decimal("0.50")
    async with database.transaction() as session:
        order = await orders.fill_order(
            session, order.id, version=order.version, quantity=60, price=price
        )
    await _show(database, console, desk.alice, f"filled at {price}, version {order.version}")
    async with database.read_only() as session:
        for position in await queries.positions(session, desk.alice.id):
            console.print(
                f"Alice holds {position.quantity} {position.symbol}, worth {position.worth:,.2f}."
            )


async def _collide(database: Database, console: Console, desk: _Desk) -> None:
    console.rule("Collide: two writers, one version")
    async with database.transaction() as session:
        order = await orders.place_order(
            session,
            account_id=desk.alice.id,
            symbol=SYMBOL,
            side="buy",
            quantity=10,
            limit_price=Decimal("1.00"),
        )
    seen = order.version
    async with database.transaction() as session:
        await orders.amend_order(session, order.id, version=seen, quantity=20)
    try:
        async with database.transaction() as session:
            await orders.amend_order(session, order.id, version=seen, quantity=30)
    except StaleVersion as conflict:
        console.print(f"The second writer got StaleVersion (HTTP 409): {conflict}")
    async with database.read_only() as session:
        kept = await session.get_one(Order, order.id)
    console.print(f"The first one's change stands: quantity {kept.quantity}.")


async def _roll_back(database: Database, console: Console, desk: _Desk) -> None:
    console.rule("Roll back: the second step fails, the first is undone")
    try:
        async with database.transaction() as session:
            await orders.transfer(
                session, source_id=desk.alice.id, target_id=desk.bob.id, amount=Decimal(250)
            )
            within = (await session.get_one(Account, desk.bob.id)).cash
            console.print(f"Within the transaction Bob has {within:,.2f}.")
            await orders.place_order(
                session,
                account_id=desk.bob.id,
                symbol=SYMBOL,
                side="buy",
                quantity=1000,
                limit_price=Decimal("400.00"),
            )
    except orders.OrderRefused as refused:
        console.print(f"His order is refused: {refused}")
    async with database.read_only() as session:
        after = (await session.get_one(Account, desk.bob.id)).cash
    console.print(f"Afterwards Bob has {after:,.2f}.")


async def _show(database: Database, console: Console, owner: Account, event: str) -> None:
    async with database.read_only(snapshot=True) as session:
        account = await session.get_one(Account, owner.id)
        reserved = await session.scalar(
            select(func.sum(Order.reserved)).where(Order.account_id == owner.id)
        )
    console.print(
        f"{event}: {account.name} has {account.cash:,.2f} free, {reserved:,.2f} reserved."
    )


async def _count(database: Database, model: type[Base]) -> str:
    async with database.read_only() as session:
        return f"{await session.scalar(select(func.count()).select_from(model)):,}"


def _told(upserted: Upserted) -> str:
    return (
        f"{upserted.inserted:,} new, {upserted.updated:,} updated, {upserted.unchanged:,} unchanged"
    )
