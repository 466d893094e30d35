"""Prices over HTTP, from the cache and live, and the limit on orders."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, status
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from ...data_layer.database import NotFound
from ...data_layer.http import DatabaseDependency, EntityNotFound, Unavailable, documented
from ...data_layer.redis import RedisUnavailable
from ...data_layer.redis.http import (
    CacheDependency,
    LiveDependency,
    QuotaExceeded,
    events,
    limited,
    subscription_to,
)
from ...data_layer.redis.limits import Limit
from ...data_layer.redis.live import Subscription
from ..routes import Body, MoneyText, PathSymbol, Symbol
from . import prices

router = APIRouter(tags=["market"])

# Far more orders than a person places, and few enough to stop a program that runs wild.
ORDERS = Limit("orders.place", quota=300, window=timedelta(minutes=1))
# The options with which the desk includes the route that places orders.
PLACING: dict[str, Any] = {
    "dependencies": [limited(ORDERS)],
    "responses": documented(QuotaExceeded),
}
PRICES = "prices"
UNAVAILABLE = documented(Unavailable)


class Quote(Body):
    """A price from the feed."""

    symbol: Symbol
    price: MoneyText


class QuoteId(BaseModel):
    """What the quote is called in the stream."""

    id: str


@router.post("/prices", status_code=status.HTTP_202_ACCEPTED, responses=UNAVAILABLE)
async def quote(body: Quote, live: LiveDependency) -> QuoteId:
    """Take a price in and show it to all who listen; nothing is stored."""
    data = {**body.model_dump(mode="json"), "at": datetime.now(UTC).isoformat()}
    try:
        return QuoteId(id=await live.publish(PRICES, data))
    except RedisUnavailable:
        raise Unavailable("The price was not passed on; send it again.") from None


@router.get("/prices/stream", response_class=EventSourceResponse, responses=UNAVAILABLE)
async def stream(
    subscription: Annotated[Subscription, Depends(subscription_to(PRICES))],
) -> AsyncIterator[ServerSentEvent]:
    """Prices as they come, as server-sent events."""
    async for event in events(subscription):
        yield event


@router.get("/instruments/{symbol}/last-price", responses=documented(EntityNotFound))
async def read_last_price(
    symbol: PathSymbol, cache: CacheDependency, database: DatabaseDependency
) -> prices.LastPrice:
    """The price of the last trade, at most a moment old."""
    price = await prices.last_price(cache, database, symbol)
    if price is None:
        raise NotFound("Last price", symbol)
    return price
