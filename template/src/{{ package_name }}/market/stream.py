"""Live prices: a feed sends them in, everybody who listens gets them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, status
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from ..data_layer.http import Unavailable, documented
from ..data_layer.redis import RedisUnavailable
from ..data_layer.redis.http import LiveDependency, events, subscription_to
from ..data_layer.redis.live import Subscription
from .routes import Body, MoneyText, Symbol

router = APIRouter(tags=["market"])

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
