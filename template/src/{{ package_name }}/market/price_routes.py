"""Last prices over HTTP, from the cache."""

from typing import Annotated

from fastapi import APIRouter, Path

from ..data_layer.database import NotFound
from ..data_layer.http import DatabaseDependency, EntityNotFound, documented
from ..data_layer.redis.http import CacheDependency
from . import prices

router = APIRouter(tags=["market"])

Symbol = Annotated[str, Path(pattern=r"^[A-Z0-9.\-]{1,12}$")]


@router.get("/instruments/{symbol}/last-price", responses=documented(EntityNotFound))
async def read_last_price(
    symbol: Symbol, cache: CacheDependency, database: DatabaseDependency
) -> prices.LastPrice:
    """The price of the last trade, at most a moment old."""
    price = await prices.last_price(cache, database, symbol)
    if price is None:
        raise NotFound("Last price", symbol)
    return price
