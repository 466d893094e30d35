"""The indicators over HTTP: computed by DuckDB, served from PostgreSQL."""

from datetime import date
from decimal import Decimal

from fastapi import APIRouter
from sqlalchemy import select

from ...data_layer.database import NotFound
from ...data_layer.http import DatabaseDependency
from ..models import Instrument
from ..routes import NOT_FOUND, BeforeDay, Entity, Limit, PathSymbol
from . import history

router = APIRouter(tags=["market"])


class IndicatorState(Entity):
    """One day of an instrument; averages of its closes, and the volatility of a year."""

    day: date
    close: Decimal
    short_average: Decimal | None
    long_average: Decimal | None
    volatility: float | None
    run_id: str


@router.get("/instruments/{symbol}/indicators", responses=NOT_FOUND)
async def read_indicators(
    symbol: PathSymbol,
    database: DatabaseDependency,
    before: BeforeDay = date.max,
    limit: Limit = 100,
) -> list[IndicatorState]:
    """Indicators of daily bars, newest first; as of the last run of the analysis."""
    async with database.read_only() as session:
        if await session.scalar(select(Instrument.id).where(Instrument.symbol == symbol)) is None:
            raise NotFound("Instrument", symbol)
        found = await history.indicators(session, symbol, before=before, limit=limit)
    return [IndicatorState.model_validate(one) for one in found]
