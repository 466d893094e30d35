"""Buying at an exchange: reserve the cash, book there, settle. No transaction spans both.

If the exchange refuses, the cash comes back. If nobody knows whether it booked, the booking is
cancelled first.
"""

from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel

from ...data_layer.database import NotFound, WriteSession
from ...data_layer.sagas import Refused, Saga, StepCall, Undo, UndoCall
from .. import orders
from ..models import Order
from .exchange import post


class Purchase(BaseModel):
    """What somebody wants to buy, and the highest price for it."""

    account_id: UUID
    symbol: str
    quantity: int
    limit_price: Decimal


purchase = Saga("market.purchase", Purchase)


async def release(session: WriteSession, call: UndoCall[Purchase]) -> None:
    """Give the reserved cash back."""
    order = await session.get_one(Order, call.result(reserve))
    if order.status == "open":
        await orders.cancel_order(session, order.id, version=order.version)


@purchase.local(undo=release)
async def reserve(session: WriteSession, call: StepCall[Purchase]) -> int:
    """Place the order, which holds back its cash; returns its id."""
    try:
        order = await orders.place_order(session, side="buy", **dict(call.arguments))
    except (NotFound, orders.OrderRefused) as error:
        raise Refused(str(error)) from error
    return order.id


async def cancel(call: UndoCall[Purchase]) -> None:
    """Cancel the booking, whether or not the exchange has it."""
    await post("cancel", call.key)


@purchase.remote(undo=cancel, attempts=3, backoff=0.2)
async def book(call: StepCall[Purchase]) -> Decimal:
    """Book at the exchange; returns its price."""
    wanted = call.arguments.model_dump(mode="json", exclude={"account_id"})
    return Decimal(await post("book", call.key, wanted))


@purchase.local(undo=Undo.IMPOSSIBLE)
async def settle(session: WriteSession, call: StepCall[Purchase]) -> None:
    """Pay the price of the exchange, and give back what the limit held above it."""
    order = await session.get_one(Order, call.result(reserve))
    await orders.fill_order(
        session,
        order.id,
        version=order.version,
        quantity=order.quantity,
        price=call.result(book),
    )
