"""Placing, changing and filling orders: one business operation, one transaction.

Every function works in the transaction that the caller opened, so that several make one unit.
"""

from decimal import Decimal
from uuid import UUID

from sqlalchemy import select

from ..data_layer.database import NotFound, ReadSession, StaleVersion, WriteSession, expecting
from .models import Account, Instrument, Order, Side
from .queries import positions


class OrderRefused(Exception):
    """The desk does not take this order or change; the message says why, for the client."""


async def place_order(
    session: WriteSession,
    *,
    account_id: UUID,
    symbol: str,
    side: Side,
    quantity: int,
    limit_price: Decimal,
) -> Order:
    """Take an order: the row of the order, and the cash that it holds back.

    Raises:
        NotFound: there is no such account or instrument.
        OrderRefused: the cash or the position does not cover it, or the price is off the tick.
    """
    account = await _locked_account(session, account_id)
    instrument = await session.scalar(select(Instrument).where(Instrument.symbol == symbol))
    if instrument is None:
        raise NotFound("Instrument", symbol)
    if instrument.currency != account.currency:
        raise OrderRefused(f"{symbol} trades in {instrument.currency}, not {account.currency}.")
    _check_tick(instrument, limit_price)
    order = Order(
        account_id=account.id,
        instrument_id=instrument.id,
        side=side,
        quantity=quantity,
        limit_price=limit_price,
        filled=0,
        reserved=Decimal(0),
        status="open",
    )
    if side == "sell":
        await _check_position(session, account, instrument, quantity)
    _reserve(account, order)
    session.add(order)
    await session.flush()
    return order


async def amend_order(
    session: WriteSession,
    order_id: int,
    *,
    version: int,
    quantity: int | None = None,
    limit_price: Decimal | None = None,
) -> Order:
    """Change the quantity or the limit of an open order, and with it the cash that it holds back.

    Raises:
        NotFound: there is no such order.
        StaleVersion: the order has another version than the client saw.
        OrderRefused: the order is no longer open, or the change is not covered.
    """
    async with expecting(session, Order, order_id, version) as order:
        account = await _open_account(session, order)
        instrument = await session.get_one(Instrument, order.instrument_id)
        if quantity is not None:
            if quantity <= order.filled:
                raise OrderRefused(
                    f"{order.filled} units are filled; the quantity must be above that."
                )
            if order.side == "sell":
                await _check_position(session, account, instrument, quantity - order.quantity)
            order.quantity = quantity
        if limit_price is not None:
            _check_tick(instrument, limit_price)
            order.limit_price = limit_price
        _reserve(account, order)
    return order


async def cancel_order(session: WriteSession, order_id: int, *, version: int) -> Order:
    """Close an open order and give back what it holds; what was filled stays.

    Raises:
        NotFound: there is no such order.
        StaleVersion: the order has another version than the client saw.
        OrderRefused: the order is no longer open.
    """
    async with expecting(session, Order, order_id, version) as order:
        account = await _open_account(session, order)
        order.status = "cancelled"
        _reserve(account, order)
    return order


async def fill_order(
    session: WriteSession, order_id: int, *, version: int, quantity: int, price: Decimal
) -> Order:
    """Execute some units of an open order at `price`, which is no worse than its limit.

    A buyer gets back what the limit held above the price; a seller gets the price.

    Raises:
        NotFound: there is no such order.
        StaleVersion: the order has another version than the caller saw.
        OrderRefused: more than what is open, or a price beyond the limit or off the tick.
    """
    async with expecting(session, Order, order_id, version) as order:
        account = await _open_account(session, order)
        _check_tick(await session.get_one(Instrument, order.instrument_id), price)
        if not 0 < quantity <= order.quantity - order.filled:
            raise OrderRefused(f"Of this order {order.quantity - order.filled} units are open.")
        if price > order.limit_price if order.side == "buy" else price < order.limit_price:
            raise OrderRefused(f"{price} is worse than the limit {order.limit_price}.")
        order.filled += quantity
        if order.filled == order.quantity:
            order.status = "filled"
        _reserve(account, order, paid=quantity * price if order.side == "buy" else Decimal(0))
        if order.side == "sell":
            account.cash += quantity * price
    return order


async def transfer(
    session: WriteSession, *, source_id: UUID, target_id: UUID, amount: Decimal
) -> None:
    """Move cash from one account to another; both change, or neither.

    Raises:
        NotFound: one of the accounts does not exist.
        OrderRefused: the source has less than `amount`, or the currencies differ.
    """
    # Everyone locks in the order of the keys, so two transfers between the same accounts in
    # opposite directions wait for each other instead of ending in a deadlock.
    accounts = {key: await _locked_account(session, key) for key in sorted({source_id, target_id})}
    source, target = accounts[source_id], accounts[target_id]
    if source.currency != target.currency:
        raise OrderRefused(f"{target.name} holds {target.currency}, not {source.currency}.")
    if amount <= 0 or source.cash < amount:
        raise OrderRefused(f"{source.name} has {source.cash} {source.currency} to transfer.")
    source.cash -= amount
    target.cash += amount
    await session.flush()


async def orders_of(
    session: ReadSession, account_id: UUID, *, limit: int, before: int
) -> list[Order]:
    """The orders of an account, newest first: at most `limit`, with ids below `before`."""
    rows = await session.scalars(
        select(Order)
        .where(Order.account_id == account_id, Order.id < before)
        .order_by(Order.id.desc())
        .limit(limit)
    )
    return list(rows)


async def _locked_account(session: WriteSession, account_id: UUID) -> Account:
    # The lock makes the orders of one account take turns: the cash and the position that an order
    # has checked are still the same when it writes.
    account = await session.get(Account, account_id, with_for_update=True, populate_existing=True)
    if account is None:
        raise NotFound("Account", account_id)
    return account


async def _open_account(session: WriteSession, order: Order) -> Account:
    account = await _locked_account(session, order.account_id)
    # Whoever held the lock before may have changed the order. Then the client must hear that, and
    # not an answer that is computed from the old order.
    current = await session.scalar(select(Order.version).where(Order.id == order.id))
    if current != order.version:
        raise StaleVersion("Order", order.id, expected=order.version, current=current)
    if order.status != "open":
        raise OrderRefused(f"The order is {order.status}; only an open one can be changed.")
    return account


def _check_tick(instrument: Instrument, price: Decimal) -> None:
    if price <= 0 or price % instrument.tick_size:
        raise OrderRefused(
            f"{instrument.symbol} trades in steps of {instrument.tick_size}; {price} is none."
        )


async def _check_position(
    session: WriteSession, account: Account, instrument: Instrument, quantity: int
) -> None:
    held = {position.symbol: position.free for position in await positions(session, account.id)}
    free = held.get(instrument.symbol, 0)
    if quantity > free:
        raise OrderRefused(f"{account.name} has {free} {instrument.symbol} free to sell.")


def _reserve(account: Account, order: Order, *, paid: Decimal = Decimal(0)) -> None:
    """Move cash between the account and what the order holds back, after the order changed."""
    buying = order.side == "buy" and order.status == "open"
    needed = (order.quantity - order.filled) * order.limit_price if buying else Decimal(0)
    cash = account.cash + order.reserved - needed - paid
    if cash < 0:
        raise OrderRefused(
            f"{account.name} has {account.cash} {account.currency} free; this needs "
            f"{needed + paid - order.reserved}."
        )
    account.cash = cash
    order.reserved = needed
