"""Hypertables and continuous aggregates, declared beside the models (DL-TS-02 to DL-TS-05)."""

import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast

from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Function,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    Table,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql import visitors
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from ..database.bulk import UPSERT_SETTINGS
from .errors import TimescaleDBError
from .interval import Interval
from .state import DIALECT, AggregateState, Columnstore, HypertableState, RefreshPolicy, ordering

T = TypeVar("T")

KEEP: Final = "keep"

# Kept in the metadata's `info`, since Alembic writes the `info` of a table into migrations.
_HYPERTABLES = "timescaledb.hypertables"
_AGGREGATES = "timescaledb.aggregates"
_AGGREGATE = "timescaledb.aggregate"

_DAY = 86_400
_LONGEST_NAME = 63

# The server's limit would abort a large upsert into columnar chunks halfway.
_UNLIMITED = {"timescaledb.max_tuples_decompressed_per_dml_transaction": "0"}


class Hypertable(SchemaItem):
    """A table that is partitioned by time, declared on its model as an `Index` is.

    Within `__table_args__`, give it the name of the time column; outside, give it the attribute:

        Hypertable(Trade.executed_at, segment_by=["instrument_id"], retention="90 days")

    Serves DL-TS-02 (chunk interval), DL-TS-03 (columnstore after 7 days) and DL-TS-04 (retention).

    Args:
        time_column: a timestamp with time zone, or a date; part of every unique key.
        retention: the age after which chunks are dropped, or `KEEP`. There is no default.
        chunk_interval: the time that one chunk spans; 1 week for a date, else 1 day. The
            chunks that are written to, one of each table, with their indexes, should together fit
            into a quarter of the server's memory.
        segment_by: columns by which the columnstore groups rows; those that queries name with `=`.
        order_by: columns by which it sorts rows; the time column, newest first, is added.
        columnstore_after: the age at which chunks become columnar; None for never.

    Raises:
        TimescaleDBError: the declaration can't work; the message says why.
    """

    __visit_name__ = "hypertable"

    def __init__(
        self,
        time_column: str | InstrumentedAttribute[Any] | Column[Any],
        *,
        retention: str | timedelta,
        chunk_interval: str | timedelta | None = None,
        segment_by: Sequence[str] = (),
        order_by: Sequence[str] = (),
        columnstore_after: str | timedelta | None = "7 days",
    ) -> None:
        self.retention = _retention(retention)
        self.columnstore_after = _optional(columnstore_after)
        self._chunk_interval = _optional(chunk_interval)
        self._segment_by = segment_by
        self._order_by = order_by
        if isinstance(time_column, str):
            self.time_column = time_column
        else:
            column: Column[Any] = (
                time_column.property.columns[0]
                if isinstance(time_column, InstrumentedAttribute)
                else time_column
            )
            self.time_column = column.name
            self._set_parent(column.table)

    def _set_parent(self, parent: Any, **_: Any) -> None:
        self.table: Table = parent
        _refuse_long_names([parent.name])
        declared = parent.metadata.info.setdefault(_HYPERTABLES, {})
        if parent.key in declared:
            raise TimescaleDBError(f"The table {parent.name} is declared a hypertable twice.")
        declared[parent.key] = self
        parent.metadata.info.setdefault(UPSERT_SETTINGS, {})[parent.key] = _UNLIMITED

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def root(self) -> "Hypertable":
        """Itself; for an aggregate, the hypertable at the bottom."""
        return self

    def state(self) -> HypertableState:
        """What a database must have.

        Raises:
            TimescaleDBError: a named column does not exist, or can't be used for this.
        """
        table = self.table
        named = [self.time_column, *self._segment_by]
        if missing := [name for name in named if name not in table.columns]:
            raise TimescaleDBError(
                f"The hypertable {table.name} names the column {missing[0]}, which its table does "
                "not have; correct the name."
            )
        kind = table.columns[self.time_column].type
        if not isinstance(kind, Date) and not (isinstance(kind, DateTime) and kind.timezone):
            raise TimescaleDBError(
                f"The time column {table.name}.{self.time_column} must be a timestamp with time "
                "zone or a date."
            )
        for key in _unique_keys(table):
            if self.time_column not in key:
                raise TimescaleDBError(
                    f"The table {table.name} is partitioned by {self.time_column}, so each of its "
                    f"unique keys must hold that column; ({', '.join(key)}) does not."
                )
        chunk_interval = self._chunk_interval or (
            Interval(days=7) if isinstance(kind, Date) else Interval(days=1)
        )
        if chunk_interval.fixed is None:
            raise TimescaleDBError(
                f"The chunk interval of {table.name} can't be {chunk_interval}, since months "
                "differ in length; write days."
            )
        return HypertableState(
            schema=table.schema,
            name=table.name,
            columnstore=_columnstore(
                table.name,
                self.columnstore_after,
                self._segment_by,
                self._order_by,
                self.time_column,
                self.retention,
            ),
            retention=self.retention,
            time_column=self.time_column,
            chunk_interval=Interval.of(chunk_interval.fixed),
        )


class TimeBucket(Function[Any]):
    """`time_bucket(width, column, zone)` as a column of a continuous aggregate."""

    inherit_cache = True

    def __init__(self, width: Interval, column: ColumnElement[Any], timezone: str | None) -> None:
        self.width = width
        self.timezone = timezone
        # In autumn the clock of a time zone repeats an hour, which must be two buckets; its day of
        # 25 hours must be one.
        self.counted_in = "UTC" if timezone is not None and width.longest < _DAY else timezone
        # Written out, not bound: PostgreSQL takes SELECT and GROUP BY for the same expression
        # only when they hold no parameters.
        arguments = [literal_column(f"INTERVAL '{width}'"), column]
        # If a zone is given, even UTC, TimescaleDB treats the buckets as uneven ones.
        if self.counted_in not in (None, "UTC"):
            arguments.append(literal_column(f"'{self.counted_in}'"))
        super().__init__("time_bucket", *arguments, type_=column.type)


def time_bucket(
    width: str | timedelta,
    column: InstrumentedAttribute[T] | Column[T] | ColumnElement[T],
    *,
    timezone: str | None = None,
) -> ColumnElement[T]:
    """The begin of the bucket that a time falls into; the column that an aggregate groups by.

    Args:
        width: `"1 hour"`, `"1 day"`, `"1 week"` (from Monday), `"1 month"`, …
        column: the time column of a hypertable, or the bucket of an aggregate below.
        timezone: the time zone in which a day begins, as `"Europe/Berlin"`. Name it once, on the
            lowest level: the levels above take it from there. UTC if none is named. Buckets shorter
            than a day are counted in UTC everywhere.

    Raises:
        TimescaleDBError: there is no such time zone, or the level below has another.
    """
    element: ColumnElement[Any] = (
        column.property.columns[0] if isinstance(column, InstrumentedAttribute) else column
    )
    table = getattr(element, "table", None)
    source = table.metadata.info.get(_AGGREGATE) if isinstance(table, Table) else None
    if isinstance(source, ContinuousAggregate):
        if timezone not in (None, source.timezone):
            raise TimescaleDBError(
                f"The aggregate {source.name} counts its buckets in {source.timezone}, so one on "
                f"top of it can't count them in {timezone}; name the time zone on the lowest level."
            )
        timezone = source.timezone
    elif isinstance(element.type, Date):
        timezone = None
    else:
        timezone = timezone or "UTC"
    if timezone is not None and timezone not in zoneinfo.available_timezones():
        raise TimescaleDBError(f"There is no time zone {timezone!r}; write one like Europe/Berlin.")
    interval = Interval.of(width)
    if timezone is not None and interval.longest < _DAY and not _fits(interval, timezone):
        raise TimescaleDBError(
            f"Days in {timezone} begin within a bucket of {interval}, since its clock is no "
            "multiple of that away from UTC; let the buckets be shorter, for example '15 minutes'."
        )
    return TimeBucket(interval, element, timezone)


def _fits(width: Interval, timezone: str) -> bool:
    """Whether days of the zone are made of whole buckets, in summer and in winter."""
    zone = zoneinfo.ZoneInfo(timezone)
    times = (
        datetime(year, month, 1, tzinfo=zone) for year in range(2000, 2038) for month in (1, 7)
    )
    return all(
        (time.utcoffset() or timedelta()).total_seconds() % width.seconds == 0 for time in times
    )


def first(value: InstrumentedAttribute[T] | ColumnElement[T], time: Any) -> Function[T]:
    """The value at the earliest time of the group."""
    return Function("first", value, time, type_=value.type)


def last(value: InstrumentedAttribute[T] | ColumnElement[T], time: Any) -> Function[T]:
    """The value at the latest time of the group."""
    return Function("last", value, time, type_=value.type)


class ContinuousAggregate:
    """A SELECT over a hypertable, or over another aggregate, that TimescaleDB keeps up to date.

    Serves DL-TS-05. Its columns are at `.c`, for aggregates on top of it and for queries.

    Args:
        name: of the view in the database.
        query: one column is a `time_bucket`, and the query groups by it.
        real_time: let queries also see the source's rows beyond the last refresh. Without it a
            query sees only the buckets that are materialized.
        refresh_every: how often the policy runs; the width of a bucket, but at most a day.
        start_offset: the age up to which late data is taken in; by default as far back as the
            source surely has all its rows, and without limit if it keeps all rows.
        end_offset: the age from which buckets are refreshed; by default the width of a bucket, so
            that no bucket is refreshed before it is over.
        retention: the age after which buckets are dropped, or `KEEP`.
        segment_by: see `Hypertable`.
        order_by: see `Hypertable`.
        columnstore_after: see `Hypertable`; never by default.

    Raises:
        TimescaleDBError: the declaration can't work, or would erase history. A refresh that
            reaches back to data that the source's retention has dropped deletes the buckets of
            that time, and later those of the levels above.
    """

    def __init__(
        self,
        name: str,
        query: Select[*tuple[Any, ...]],
        *,
        real_time: bool = False,
        refresh_every: str | timedelta | None = None,
        start_offset: str | timedelta | None = None,
        end_offset: str | timedelta | None = None,
        retention: str | timedelta = KEEP,
        segment_by: Sequence[str] = (),
        order_by: Sequence[str] = (),
        columnstore_after: str | timedelta | None = None,
    ) -> None:
        _refuse_long_names([name, *query.selected_columns.keys()])
        self.name = name
        self.query = query
        self.real_time = real_time
        self.retention = _retention(retention)
        self.source = _source(name, query)
        self.root: Hypertable = self.source.root
        bucket_column, bucket = _bucket(name, query)
        self.bucket_column = bucket_column
        self.bucket = bucket.width
        self.timezone = bucket.timezone
        self.counted_in = bucket.counted_in
        #: Whether its buckets differ in length: months, or days of a place whose clock changes.
        self.uneven = bucket.width.fixed is None or bucket.counted_in not in (None, "UTC")
        self.schema = self.root.table.schema
        self._check_levels()

        self.end_offset = Interval.of(end_offset or self.bucket)
        self.start_offset = _optional(start_offset) or self._safe_start()
        self._check_window()
        day = Interval(days=1)
        every = min(self.bucket, day, key=lambda interval: interval.longest)
        self.refresh_every = Interval.of(refresh_every or every)

        self.columnstore_after = _optional(columnstore_after)
        self.columnstore = _columnstore(
            name, self.columnstore_after, segment_by, order_by, bucket_column, self.retention
        )
        # In metadata of its own: it is a view, and not a table to create.
        self.table = Table(
            name,
            MetaData(),
            *(Column(column.name, column.type) for column in query.selected_columns),
            schema=self.schema,
        )
        self.table.metadata.info[_AGGREGATE] = self
        if missing := [column for column in segment_by if column not in self.table.columns]:
            raise TimescaleDBError(
                f"The aggregate {name} is segmented by {missing[0]}, which it does not select."
            )
        aggregates = self.root.table.metadata.info.setdefault(_AGGREGATES, {})
        if name in aggregates:
            raise TimescaleDBError(f"Two continuous aggregates have the name {name}; rename one.")
        aggregates[name] = self

    @property
    def c(self) -> ReadOnlyColumnCollection[str, Column[Any]]:
        """The columns that it selects."""
        return self.table.columns

    def state(self) -> AggregateState:
        """What a database must have."""
        source = self.source.table
        return AggregateState(
            schema=self.schema,
            name=self.name,
            columnstore=self.columnstore,
            retention=self.retention,
            source=(source.schema, source.name),
            query=sql(self.query),
            real_time=self.real_time,
            refresh=RefreshPolicy(self.start_offset, self.end_offset, self.refresh_every),
        )

    def _check_levels(self) -> None:
        if isinstance(self.source, ContinuousAggregate) and not _divides(
            self.source.bucket, self.bucket
        ):
            raise TimescaleDBError(
                f"The buckets of {self.name} ({self.bucket}) are no multiple of those of "
                f"{self.source.name} ({self.source.bucket}); let it select from a finer level."
            )

    def _safe_start(self) -> Interval | None:
        bounds = [bound for bound in (self.source.retention, self.retention) if bound]
        if not bounds:
            return None
        seconds = int(min(bound.shortest for bound in bounds) - self.bucket.longest)
        if seconds >= _DAY:
            return Interval(days=seconds // _DAY)
        return Interval(seconds=max(seconds, 1))

    def _check_window(self) -> None:
        kept = self.source.retention
        if (
            kept is not None
            and self.start_offset is not None
            and self.start_offset.longest >= kept.shortest
        ):
            raise TimescaleDBError(erasing(self.name, self.start_offset, self.source.name, kept))
        if (
            self.start_offset is not None
            and self.start_offset.shortest - self.end_offset.longest < 2 * self.bucket.longest
        ):
            raise TimescaleDBError(
                f"The refresh window of {self.name}, from {self.start_offset} to "
                f"{self.end_offset} before now, must span at least two buckets of {self.bucket}; "
                "let start_offset be larger, and the retention of its source too if need be."
            )


def erasing(aggregate: str, start_offset: Interval | None, source: str, retention: Interval) -> str:
    """The sentence that refuses a refresh window which reaches into dropped data."""
    reach = "from the beginning" if start_offset is None else f"from {start_offset} before now"
    return (
        f"The aggregate {aggregate} would be refreshed {reach}, but {source} drops what is older "
        f"than {retention}: the refresh would erase the history of {aggregate} and of every level "
        "above it. Let its start_offset be shorter than that retention."
    )


def hypertables(metadata: MetaData) -> list[Hypertable]:
    """The hypertables that are declared on the tables of `metadata`, by name."""
    declared: dict[str, Hypertable] = metadata.info.get(_HYPERTABLES, {})
    return [declared[name] for name in sorted(declared)]


def hypertable_of(table: Table | type[DeclarativeBase]) -> Hypertable:
    """The declaration of a table or a model.

    Raises:
        TimescaleDBError: it is not declared a hypertable.
    """
    if not isinstance(table, Table):
        table = cast("Table", table.__table__)
    declared = _declared(table)
    if declared is None:
        raise TimescaleDBError(f"The table {table.name} is not declared a hypertable.")
    return declared


def _declared(table: Table) -> Hypertable | None:
    found: Hypertable | None = table.metadata.info.get(_HYPERTABLES, {}).get(table.key)
    return found


def aggregates(metadata: MetaData) -> list[ContinuousAggregate]:
    """The aggregates that stand on those hypertables, each after its source."""
    return list(metadata.info.get(_AGGREGATES, {}).values())


def aggregates_of(table: Table) -> list[ContinuousAggregate]:
    """The aggregates of every level that stand on one hypertable, each after its source."""
    return [item for item in aggregates(table.metadata) if item.root.table is table]


def sql(query: ClauseElement) -> str:
    """The text of a SELECT, or of a part of one, with its values written out."""
    return str(query.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))


def _refuse_long_names(names: Iterable[str]) -> None:
    for name in names:
        if len(name.encode()) > _LONGEST_NAME:
            raise TimescaleDBError(
                f"PostgreSQL cuts names off after {_LONGEST_NAME} bytes, and {name} has "
                f"{len(name.encode())}; choose a shorter one."
            )


def _optional(value: str | timedelta | None) -> Interval | None:
    return None if value is None else Interval.of(value)


def _retention(value: str | timedelta) -> Interval | None:
    if value is None:
        raise TimescaleDBError(
            "A retention can't be None; write an age, for example '90 days', or KEEP to keep all."
        )
    return None if value == KEEP else Interval.of(value)


def _columnstore(
    name: str,
    after: Interval | None,
    segment_by: Sequence[str],
    order_by: Sequence[str],
    time_column: str,
    retention: Interval | None,
) -> Columnstore | None:
    if after is None:
        return None
    if retention is not None and retention.longest <= after.shortest:
        raise TimescaleDBError(
            f"The chunks of {name} are dropped at the age of {retention}, before they become "
            f"columnar at that of {after}; let columnstore_after be shorter, or None."
        )
    try:
        return Columnstore(tuple(segment_by), ordering(order_by, time_column), after)
    except ValueError as error:
        raise TimescaleDBError(
            f"{name} can't be ordered by {error}; write a column, with DESC behind it or not."
        ) from None


def _unique_keys(table: Table) -> Iterator[list[str]]:
    for constraint in table.constraints:
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint)) and constraint.columns:
            yield [column.name for column in constraint.columns]
    for index in table.indexes:
        if index.unique:
            yield [getattr(column, "name", str(column)) for column in index.expressions]


def _source(name: str, query: Select[*tuple[Any, ...]]) -> Hypertable | ContinuousAggregate:
    found: list[Hypertable | ContinuousAggregate] = []
    for element in query.get_final_froms():
        for part in visitors.iterate(element):
            if not isinstance(part, Table):
                continue
            source = part.metadata.info.get(_AGGREGATE) or _declared(part)
            if source is not None:
                found.append(source)
    if len(found) != 1:
        raise TimescaleDBError(
            f"The aggregate {name} must select from exactly one hypertable or continuous "
            f"aggregate, and its query names {len(found)}; declare the hypertable above it."
        )
    return found[0]


def _bucket(name: str, query: Select[*tuple[Any, ...]]) -> tuple[str, TimeBucket]:
    found = [
        (column.name, part)
        for column in query.selected_columns
        for part in visitors.iterate(column)
        if isinstance(part, TimeBucket)
    ]
    if len(found) != 1:
        raise TimescaleDBError(
            f"The aggregate {name} must select exactly one time_bucket, and has {len(found)}."
        )
    return found[0]


def _divides(finer: Interval, coarser: Interval) -> bool:
    """Whether each bucket of the one width is made of whole buckets of the other."""
    if finer.months:
        return coarser.fixed is None and coarser.months % finer.months == 0
    width = finer.days * _DAY + finer.seconds
    if coarser.months:
        return _DAY % width == 0
    return (coarser.days * _DAY + coarser.seconds) % width == 0
