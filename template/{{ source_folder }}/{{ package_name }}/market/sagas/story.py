"""The part of the story that `demo` tells of sagas: a worker is killed, and every cent is right."""

import asyncio
import os
import sys
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from ...data_layer.database import Database
from ...data_layer.sagas import SagaSettings, run_worker
from .. import queries
from ..demo import SYMBOL
from ..models import Account, Order
from .fake_exchange import FakeExchange, Manner
from .purchase import Purchase, purchase

MANNERS: dict[int, Manner] = {
    10: "delays",
    20: "refuses",
    30: "books, and answers 500",
    40: "forgets to answer",
}
CASH = Decimal("100000.00")
# A dead worker's saga is taken over after half a second, not after half a minute.
SETTINGS = SagaSettings(_env_file=None, lease=0.5, poll=0.1)
SECONDS = 30


async def story(database: Database, console: Console) -> None:
    """Buy at an exchange that misbehaves, kill a worker within, and count the money."""
    console.rule("Sagas: two books, a worker that is killed, and every cent is right")
    async with database.transaction() as session:
        carol = Account(name="Carol", currency="USD", cash=CASH)
        session.add(carol)
    with FakeExchange.open(MANNERS) as exchange:
        os.environ["EXCHANGE_URL"] = exchange.url
        await _kill(database, console, carol, exchange)
        await _take_over(database, console, carol)
        await _count(database, console, carol, exchange)


async def _kill(
    database: Database, console: Console, carol: Account, exchange: FakeExchange
) -> None:
    await _buy(database, carol, 10)
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__)
    try:
        if not await asyncio.to_thread(exchange.delays.wait, SECONDS):
            raise TimeoutError("the worker did not come to the exchange")
    finally:
        worker.kill()
        await worker.wait()
    free, reserved, _ = await _money(database, carol)
    console.print(
        "The exchange has booked 10, and the worker is killed (kill -9) before it hears of that: "
        f"Carol has {free:,.2f} free, {reserved:,.2f} reserved."
    )


async def _take_over(database: Database, console: Console, carol: Account) -> None:
    console.print("Another worker takes over, three more purchases begin, and calls fail:")
    for quantity in (20, 30, 40):
        await _buy(database, carol, quantity)
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(database, stop, SETTINGS))
    ended = select(func.count()).where(Order.account_id == carol.id, Order.status != "open")
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                async with database.read_only() as session:
                    if await session.scalar(ended) == len(MANNERS):
                        return
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await worker


async def _count(
    database: Database, console: Console, carol: Account, exchange: FakeExchange
) -> None:
    table = Table("order of", "the exchange", "ends as")
    async with database.read_only() as session:
        found = await session.scalars(
            select(Order).where(Order.account_id == carol.id).order_by(Order.quantity)
        )
        for order in found:
            table.add_row(f"{order.quantity}", MANNERS[order.quantity], order.status)
    console.print(table)
    free, reserved, bought = await _money(database, carol)
    paid = CASH - free - reserved
    booked = sum(exchange.booked.values())
    verdict = "every cent is right" if paid == booked and not reserved else "money is lost"
    console.print(
        f"Carol has {free:,.2f} free, {reserved:,.2f} reserved, and paid {paid:,.2f} for {bought} "
        f"{SYMBOL}; the exchange has booked {booked:,.2f}: {verdict}."
    )


async def _buy(database: Database, carol: Account, quantity: int) -> None:
    async with database.transaction() as session:
        [bar] = [one for one in await queries.latest_bars(session) if one.symbol == SYMBOL]
        wanted = Purchase(
            account_id=carol.id,
            symbol=SYMBOL,
            quantity=quantity,
            limit_price=bar.close.quantize(Decimal("0.01")),
        )
        await purchase.start(session, wanted, key=f"{carol.id} {quantity}")


async def _money(database: Database, carol: Account) -> tuple[Decimal, Decimal, int]:
    """What she has free and reserved, and how many units she bought."""
    orders = select(func.sum(Order.reserved), func.sum(Order.filled))
    async with database.read_only(snapshot=True) as session:
        account = await session.get_one(Account, carol.id)
        found = await session.execute(orders.where(Order.account_id == carol.id))
        reserved, bought = found.one()
    return account.cash, reserved, bought


async def _work() -> None:
    async with Database.open() as database:
        await run_worker(database, asyncio.Event(), SETTINGS)


if __name__ == "__main__":
    asyncio.run(_work())
