"""A second domain: weather stations, written as docs/data-layer/timescaledb.md says."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, MetaData, Select, func, select
from sqlalchemy.orm import Mapped, mapped_column

from my_project.data_layer.database import (
    NAMING_CONVENTION,
    Base,
    BigIntKey,
)
from my_project.data_layer.timescaledb import (
    ContinuousAggregate,
    Hypertable,
    time_bucket,
)


class WeatherBase(Base):
    """Tables apart from the application's."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Station(BigIntKey, WeatherBase):
    """Where the weather is measured."""

    __tablename__ = "stations"

    name: Mapped[str] = mapped_column(unique=True)


class Reading(WeatherBase):
    """One reading of one station."""

    __tablename__ = "readings"
    __table_args__ = (
        Index("ix_readings_taken_at", "taken_at"),
        Hypertable("taken_at", segment_by=["station_id"], retention="1 year"),
    )

    station_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("stations.id"), primary_key=True)
    taken_at: Mapped[datetime] = mapped_column(primary_key=True)
    celsius: Mapped[float]
    rain: Mapped[float]


def _of_readings() -> Select[*tuple[Any, ...]]:
    hour = time_bucket("1 hour", Reading.taken_at, timezone="Europe/Berlin")
    return select(
        Reading.station_id,
        hour.label("bucket"),
        func.min(Reading.celsius).label("coldest"),
        func.max(Reading.celsius).label("warmest"),
        # An average of averages is wrong; sums and counts add up.
        func.sum(Reading.celsius).label("sum"),
        func.count().label("readings"),
        func.sum(Reading.rain).label("rain"),
    ).group_by(Reading.station_id, hour)


def _of_summaries(finer: ContinuousAggregate, width: str) -> Select[*tuple[Any, ...]]:
    summary = finer.c
    bucket = time_bucket(width, summary.bucket)
    return select(
        summary.station_id,
        bucket.label("bucket"),
        func.min(summary.coldest).label("coldest"),
        func.max(summary.warmest).label("warmest"),
        func.sum(summary.sum).label("sum"),
        func.sum(summary.readings).label("readings"),
        func.sum(summary.rain).label("rain"),
    ).group_by(summary.station_id, bucket)


HOURLY = ContinuousAggregate("weather_hourly", _of_readings(), real_time=True, retention="2 years")
DAILY = ContinuousAggregate(
    "weather_daily",
    _of_summaries(HOURLY, "1 day"),
    segment_by=["station_id"],
    columnstore_after="90 days",
)
MONTHLY = ContinuousAggregate("weather_monthly", _of_summaries(DAILY, "1 month"))
LEVELS = (HOURLY, DAILY, MONTHLY)
