"""Declarations that can't work, or would lose data, are refused where they stand."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    MetaData,
    Select,
    Table,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import SchemaItem

from my_project.data_layer.database import NAMING_CONVENTION, Base
from my_project.data_layer.timescaledb import (
    KEEP,
    ContinuousAggregate,
    Hypertable,
    TimescaleDBError,
    time_bucket,
)
from my_project.data_layer.timescaledb.interval import Interval


def table(*items: SchemaItem) -> Table:
    return Table(
        "readings",
        MetaData(),
        Column("sensor", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
        Column("value", Double),
        *items,
    )


def counted(time: Column[Any], width: str, timezone: str | None = None) -> Select[*tuple[Any, ...]]:
    bucket = time_bucket(width, time, timezone=timezone)
    return select(bucket.label("bucket"), func.count().label("n")).group_by(bucket)


@pytest.mark.standard("DL-TS-02")
def test_a_model_is_declared_as_by_an_index() -> None:
    class Own(Base):
        __abstract__ = True
        metadata = MetaData(naming_convention=NAMING_CONVENTION)

    class Reading(Own):
        __tablename__ = "readings"
        __table_args__ = (Hypertable("day", retention=KEEP),)
        sensor: Mapped[int] = mapped_column(primary_key=True)
        day: Mapped[date] = mapped_column(primary_key=True)

    class Event(Own):
        __tablename__ = "events"
        at: Mapped[datetime] = mapped_column(primary_key=True)

    outside = Hypertable(Event.at, retention="1 year", columnstore_after=None)

    weekly = Reading.metadata.info["timescaledb.hypertables"]["readings"].state()
    assert (weekly.chunk_interval, weekly.retention) == (Interval(days=7), None)
    assert weekly.columnstore.after == Interval(days=7)
    assert weekly.columnstore.order_by == ("day DESC",)
    daily = outside.state()
    assert (daily.name, daily.time_column) == ("events", "at")
    assert (daily.chunk_interval, daily.retention) == (Interval(days=1), Interval(months=12))
    assert daily.columnstore is None


@pytest.mark.standard("DL-TS-04")
def test_retention_has_no_default() -> None:
    with pytest.raises(TypeError, match="retention"):
        Hypertable("at")  # type: ignore[call-arg]


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no such column": (
        lambda: Hypertable(table().c["value"], retention=KEEP).state(),
        "must be a timestamp with time zone",
    ),
    "segmented by nothing": (
        lambda: Hypertable(table().c["at"], retention=KEEP, segment_by=["x"]).state(),
        "names the column x",
    ),
    "a unique key without time": (
        lambda: Hypertable(table(UniqueConstraint("sensor")).c["at"], retention=KEEP).state(),
        "each of its unique keys must hold that column",
    ),
    "chunks of months": (
        lambda: Hypertable(table().c["at"], retention=KEEP, chunk_interval="1 month").state(),
        "write days",
    ),
    "an interval that is none": (
        lambda: Hypertable("at", retention="soon"),
        "'soon' is no span of time",
    ),
    "no hypertable below": (
        lambda: ContinuousAggregate("hourly", counted(table().c["at"], "1 hour")),
        "exactly one hypertable",
    ),
    "a retention of None": (
        lambda: Hypertable("at", retention=None),  # type: ignore[arg-type]
        "or KEEP to keep all",
    ),
    "a number for an interval": (
        lambda: Hypertable("at", retention=90),  # type: ignore[arg-type]
        "'90' is no span of time",
    ),
    "dropped before it is columnar": (
        lambda: Hypertable(table().c["at"], retention="3 days").state(),
        "The chunks of readings are dropped at the age of 3 days",
    ),
    "buckets dropped before they are columnar": (
        lambda: ContinuousAggregate(
            "hourly",
            counted(hypertable(KEEP).c["at"], "1 hour"),
            retention="30 days",
            columnstore_after="60 days",
        ),
        "The chunks of hourly are dropped",
    ),
    "a name of 64 bytes": (
        lambda: ContinuousAggregate("ü" * 32, counted(hypertable(KEEP).c["at"], "1 hour")),
        "has 64; choose a shorter one",
    ),
    "a table's name of 64 bytes": (
        lambda: Hypertable(
            Table("x" * 64, MetaData(), Column("at", DateTime(timezone=True))).c["at"],
            retention=KEEP,
        ),
        "cuts names off after 63 bytes",
    ),
    "no such time zone": (
        lambda: time_bucket("1 day", table().c["at"], timezone="Mars/Olympus"),
        "no time zone",
    ),
}


@pytest.mark.parametrize(("declare", "reason"), REFUSED.values(), ids=REFUSED)
def test_is_refused(declare: Callable[[], object], reason: str) -> None:
    with pytest.raises(TimescaleDBError, match=r"^[A-Z'].*\.$") as refusal:
        declare()
    assert reason in str(refusal.value)


def hypertable(retention: str) -> Table:
    return table(Hypertable("at", retention=retention))


@pytest.mark.standard("DL-TS-05")
@pytest.mark.parametrize("start_offset", ["90 days", "150 days", "4 months"])
def test_a_window_that_reaches_into_dropped_data_is_refused(start_offset: str) -> None:
    """Such a refresh was measured to erase a third of the history, at every level."""
    source = hypertable("90 days")
    with pytest.raises(TimescaleDBError, match="would erase the history of hourly"):
        ContinuousAggregate("hourly", counted(source.c["at"], "1 hour"), start_offset=start_offset)


def test_the_window_is_derived_from_what_the_source_keeps() -> None:
    short = ContinuousAggregate("hourly", counted(hypertable("90 days").c["at"], "1 hour"))
    assert (short.start_offset, short.end_offset) == (Interval(days=89), Interval(seconds=3600))
    kept = ContinuousAggregate("hourly", counted(hypertable(KEEP).c["at"], "1 hour"))
    assert kept.start_offset is None
    own = ContinuousAggregate(
        "daily", counted(hypertable(KEEP).c["at"], "1 day"), retention="30 days"
    )
    assert own.start_offset == Interval(days=29)


@pytest.mark.parametrize("retention", ["1 hour", "3 hours", "2 days"])
def test_a_retention_too_short_for_two_buckets_is_refused(retention: str) -> None:
    width = "1 day" if "day" in retention else "1 hour"
    with pytest.raises(TimescaleDBError, match="at least two buckets"):
        ContinuousAggregate("short", counted(hypertable(retention).c["at"], width))


def test_days_that_begin_within_an_hour_are_refused() -> None:
    time = hypertable(KEEP).c["at"]
    with pytest.raises(TimescaleDBError, match="Days in Asia/Kolkata begin within a bucket"):
        time_bucket("1 hour", time, timezone="Asia/Kolkata")
    time_bucket("30 minutes", time, timezone="Asia/Kolkata")
    # An hour that Berlin's clock repeats is two, so hours are counted in UTC, and days are not.
    assert "Berlin" not in str(time_bucket("1 hour", time, timezone="Europe/Berlin"))
    assert "'Europe/Berlin'" in str(time_bucket("1 day", time, timezone="Europe/Berlin"))


def test_levels_are_multiples_and_share_one_time_zone() -> None:
    hourly = ContinuousAggregate(
        "hourly", counted(hypertable(KEEP).c["at"], "1 hour", "Europe/Berlin")
    )
    daily = ContinuousAggregate("daily", counted(hourly.c["bucket"], "1 day"))
    assert daily.timezone == "Europe/Berlin"
    weekly = ContinuousAggregate("weekly", counted(daily.c["bucket"], "1 week"))
    ContinuousAggregate("monthly", counted(daily.c["bucket"], "1 month"))
    with pytest.raises(TimescaleDBError, match="no multiple of those of weekly"):
        ContinuousAggregate("monthly2", counted(weekly.c["bucket"], "1 month"))
    with pytest.raises(TimescaleDBError, match="name the time zone on the lowest level"):
        time_bucket("1 week", daily.c["bucket"], timezone="UTC")
    with pytest.raises(TimescaleDBError, match="Two continuous aggregates have the name daily"):
        ContinuousAggregate("daily", counted(hourly.c["bucket"], "1 day"))


@given(
    st.builds(
        Interval,
        st.integers(0, 40),
        st.integers(0, 400),
        st.integers(0, 86_399),
    ).filter(lambda interval: interval != Interval())
)
def test_an_interval_reads_what_it_writes(interval: Interval) -> None:
    assert Interval.of(str(interval)) == interval
    assert interval.shortest <= interval.longest
