"""Trades and daily bars as hypertables, and the candles that TimescaleDB keeps of the trades.

Hourly candles come from the trades, daily ones from the hourly, weekly and monthly from the daily.
"""

from typing import Any

from sqlalchemy import Select, extract, func, literal_column, select

from ...data_layer.timescaledb import (
    KEEP,
    ContinuousAggregate,
    Hypertable,
    first,
    last,
    time_bucket,
)
from ..models import DailyBar, Trade

# The samples are of 2011 to 2013, so any period would drop them on the first day. A desk that
# writes its own trades says for how long it needs each of them, for example retention="2 years".
Hypertable(
    Trade.executed_at,
    segment_by=["instrument_id"],
    order_by=["executed_at DESC", "sequence DESC"],
    retention=KEEP,
)
Hypertable(DailyBar.day, segment_by=["instrument_id"], retention=KEEP)


def _of_trades(width: str) -> Select[*tuple[Any, ...]]:
    bucket = time_bucket(width, Trade.executed_at)
    # The sequence orders the trades of one instant. It is added as a fraction far below a
    # microsecond: `first` and `last` take one sortable value, and a row of two values can't be
    # aggregated in parts.
    order = extract("epoch", Trade.executed_at) + Trade.sequence * literal_column("1e-16")
    return select(
        Trade.instrument_id,
        bucket.label("bucket"),
        first(Trade.price, order).label("open"),
        func.max(Trade.price).label("high"),
        func.min(Trade.price).label("low"),
        last(Trade.price, order).label("close"),
        func.sum(Trade.quantity).label("volume"),
        func.count().label("trades"),
    ).group_by(Trade.instrument_id, bucket)


def _of_candles(finer: ContinuousAggregate, width: str) -> Select[*tuple[Any, ...]]:
    candle = finer.c
    bucket = time_bucket(width, candle.bucket)
    return select(
        candle.instrument_id,
        bucket.label("bucket"),
        first(candle.open, candle.bucket).label("open"),
        func.max(candle.high).label("high"),
        func.min(candle.low).label("low"),
        last(candle.close, candle.bucket).label("close"),
        func.sum(candle.volume).label("volume"),
        func.sum(candle.trades).label("trades"),
    ).group_by(candle.instrument_id, bucket)


# The newest hour is computed from the trades when it is asked for; the levels above answer with
# complete buckets alone.
HOURLY = ContinuousAggregate("candles_hourly", _of_trades("1 hour"), real_time=True)
DAILY = ContinuousAggregate("candles_daily", _of_candles(HOURLY, "1 day"))
WEEKLY = ContinuousAggregate("candles_weekly", _of_candles(DAILY, "1 week"))
MONTHLY = ContinuousAggregate("candles_monthly", _of_candles(DAILY, "1 month"))
LEVELS = (HOURLY, DAILY, WEEKLY, MONTHLY)
