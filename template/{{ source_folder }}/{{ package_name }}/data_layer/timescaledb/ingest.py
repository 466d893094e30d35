"""Late and duplicate data, and the buckets that they touch."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import stamina
from sqlalchemy import Connection, Table, text
from sqlalchemy.orm import DeclarativeBase

from ..database import Database, Upserted, sqlstate, upsert
from ..database.bulk.tables import written_columns
from . import catalog
from .declarations import ContinuousAggregate, Hypertable, aggregates_of, hypertable_of
from .errors import TimescaleDBError
from .state import identifier

# Another refresh of the same buckets, or a policy's, is under way.
BUSY = {"55P03", "40001", "40P01"}

Row = Sequence[Any] | Mapping[str, Any]
Window = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill did.

    Attributes:
        rows: inserted, updated and unchanged ones.
        refreshed: the windows that were refreshed, by the name of the aggregate. A window is a run
            of neighbouring buckets, each of which got a row.
    """

    rows: Upserted
    refreshed: dict[str, list[Window]] = field(default_factory=dict)


async def backfill(
    database: Database,
    table: Table | type[DeclarativeBase],
    rows: Iterable[Row] | AsyncIterable[Row],
    *,
    key: Sequence[str],
    columns: Sequence[str] | None = None,
) -> Backfilled:
    """Write late, corrected or duplicate rows, and bring the hypertable's aggregates up to date.

    The rows are upserted in one transaction; then exactly the buckets that they touch are
    refreshed, level by level, outside of it. If a refresh fails, the rows stay and the policies
    take them in later; `refresh` does so at once. A refresh also takes in the bucket that is not
    over yet, so backfill finished periods only.

    Args:
        database: the layer's database.
        table: a hypertable or its model.
        rows: tuples or mappings, as `upsert` takes them.
        key: the columns of the primary key or of a unique constraint.
        columns: the columns of tuples; by default as in `upsert`.

    Raises:
        TimescaleDBError: the columns lack the time. Or a row falls into a bucket whose rows the
            hypertable, or the source of one of its aggregates, has dropped or may drop now: a
            refresh of that bucket would erase what was there. Nothing is written then.
    """
    hypertable = hypertable_of(table)
    names = list(columns or written_columns(hypertable.table))
    if hypertable.time_column not in names:
        raise TimescaleDBError(
            f"The rows for {hypertable.table.name} lack {hypertable.time_column}, by which it is "
            "partitioned; name it among the columns."
        )
    touched: set[datetime] = set()
    levels = aggregates_of(hypertable.table)
    async with database.transaction() as session:
        connection = await session.connection()
        # Asked before the rows come, since they make chunks again where others were dropped.
        bounds = [await connection.run_sync(_bound, level) for level in levels]
        done = await upsert(
            session,
            hypertable.table,
            _watched(rows, names.index(hypertable.time_column), hypertable, levels, touched),
            key=key,
            columns=columns,
        )
        if not touched:
            return Backfilled(done)
        windows = {}
        for level, bound in zip(levels, bounds, strict=True):
            spans = [
                (row.first, row.last)
                for row in await session.execute(
                    _buckets(level), {"times": sorted(touched), "timezone": level.counted_in}
                )
            ]
            windows[level.name] = _joined(spans)
            bound.refuse(windows[level.name][0][0])
    for level in levels:
        for since, until in windows[level.name]:
            await _refresh(database, level, since, until)
    return Backfilled(done, windows)


async def refresh(
    database: Database,
    aggregate: ContinuousAggregate,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> None:
    """Materialize the buckets of one aggregate that lie wholly within a window.

    Runs outside any transaction and without a statement timeout. Refresh the levels below first.

    Args:
        database: the layer's database.
        aggregate: as it is declared.
        since: the begin of the window; when None, the time from which its source has every row.
        until: the end of the window; the newest data when None.

    Raises:
        TimescaleDBError: a bound has no time zone; the end is not after the begin; or the window
            begins where the source has dropped rows, or may by now.
    """
    for time_ in (since, until):
        if time_ is not None and time_.utcoffset() is None:
            raise TimescaleDBError(
                f"The bound {time_} of the refresh of {aggregate.name} has no time zone; give it "
                "one, for example with tzinfo=UTC."
            )
    if since is not None and until is not None and since >= until:
        raise TimescaleDBError(
            f"The refresh of {aggregate.name} would end at {until}, which is not after its begin "
            f"at {since}; exchange since and until."
        )
    async with database.transaction() as session:
        connection = await session.connection()
        bound = await connection.run_sync(_bound, aggregate)
    if since is not None:
        bound.refuse(since)
    await _refresh(database, aggregate, since or bound.since, until)


@dataclass(frozen=True, slots=True)
class _Bound:
    """The time since which an aggregate may be refreshed (None: any), and why not from before."""

    aggregate: str
    since: datetime | None
    reason: str

    def refuse(self, since: datetime) -> None:
        if self.since is not None and since < self.since:
            raise TimescaleDBError(
                f"Buckets of {self.aggregate} from {since:%Y-%m-%d %H:%M} on would be refreshed, "
                f"but {self.reason}: the refresh would erase what {self.aggregate} still holds of "
                f"that time. Leave out what is before {self.since:%Y-%m-%d %H:%M}."
            )


def _bound(connection: Connection, aggregate: ContinuousAggregate) -> _Bound:
    reach = catalog.reach(connection, (aggregate.schema, aggregate.name))
    reason = "has lost older rows"
    if reach.since != reach.lost:
        reason = f"drops what is older than {aggregate.source.retention}"
    return _Bound(aggregate.name, reach.since, f"{aggregate.source.name} {reason}")


async def _watched(
    rows: Iterable[Row] | AsyncIterable[Row],
    position: int,
    hypertable: Hypertable,
    levels: Sequence[ContinuousAggregate],
    touched: set[datetime],
) -> AsyncIterator[Row]:
    """The rows as they come; `touched` collects their times, rounded down within their buckets."""
    name = hypertable.time_column
    whole_minutes = all(level.bucket.seconds % 60 == 0 for level in levels)
    async for row in _each(rows):
        # The upsert refuses a row that lacks the time.
        if isinstance(row, Mapping):
            value = row.get(name)
        else:
            value = row[position] if position < len(row) else None
        if isinstance(value, datetime):
            touched.add(value.replace(second=0 if whole_minutes else value.second, microsecond=0))
        elif isinstance(value, date):
            touched.add(datetime.combine(value, time(), UTC))
        yield row


async def _each(rows: Iterable[Row] | AsyncIterable[Row]) -> AsyncIterator[Row]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


def _buckets(level: ContinuousAggregate) -> Any:
    """The distinct buckets of `:times`, each with its end, in order."""
    width = f"INTERVAL '{level.bucket}'"
    if level.timezone is None:
        begin = f"time_bucket({width}, CAST(touched AT TIME ZONE 'UTC' AS date))"
        first, last = (
            f"CAST({begin} AS timestamp) AT TIME ZONE 'UTC'",
            f"(CAST({begin} AS timestamp) + {width}) AT TIME ZONE 'UTC'",
        )
    else:
        first = f"time_bucket({width}, touched, CAST(:timezone AS text))"
        last = f"({first} AT TIME ZONE :timezone + {width}) AT TIME ZONE :timezone"
    return text(
        f"SELECT DISTINCT {first} AS first, {last} AS last"  # noqa: S608 (an Interval's own text)
        " FROM unnest(CAST(:times AS timestamptz[])) AS touched ORDER BY 1"
    )


def _joined(windows: Sequence[Window]) -> list[Window]:
    joined: list[Window] = []
    for since, until in windows:
        if joined and joined[-1][1] >= since:
            joined[-1] = (joined[-1][0], max(until, joined[-1][1]))
        else:
            joined.append((since, until))
    return joined


async def _refresh(
    database: Database,
    aggregate: ContinuousAggregate,
    since: datetime | None,
    until: datetime | None,
) -> None:
    since_, until_ = (
        f"CAST(:{name} AS timestamptz)"
        # A bare cast to a date would take the day of the session's time zone.
        if aggregate.timezone is not None
        else f"CAST(CAST(:{name} AS timestamptz) AT TIME ZONE 'UTC' AS date)"
        for name in ("since", "until")
    )
    # Without `force`, TimescaleDB looks itself for what has changed, and (2.29.2 still, its issue
    # 10296) skips an uneven bucket if the change ended exactly at the begin of it.
    statement = text(
        f"CALL refresh_continuous_aggregate(CAST(:name AS regclass), {since_}, {until_},"
        f" force => {aggregate.uneven})"
    )
    name = identifier(aggregate.schema, aggregate.name)
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        before = await connection.scalar(text("SHOW statement_timeout"))
        await connection.execute(text("SET statement_timeout = 0"))
        try:
            # A policy's refresh of the same aggregate may be running.
            async for attempt in stamina.retry_context(
                on=lambda error: sqlstate(error) in BUSY,
                attempts=10,
                timeout=60,
            ):
                with attempt:
                    await connection.execute(
                        statement, {"name": name, "since": since, "until": until}
                    )
        finally:
            await connection.execute(
                text("SELECT set_config('statement_timeout', :before, false)"), {"before": before}
            )
