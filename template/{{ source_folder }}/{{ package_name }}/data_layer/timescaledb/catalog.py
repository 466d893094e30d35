"""What a database has, read from TimescaleDB's own views; internal objects are left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import DDL, Connection, text
from sqlalchemy.exc import ProgrammingError

from .interval import Interval
from .state import (
    AggregateState,
    Columnstore,
    HypertableState,
    Key,
    RefreshPolicy,
    State,
    identifier,
    ordering,
    unquoted,
)

_SQL = Path(__file__).parent / "sql"


@dataclass(frozen=True, slots=True)
class Catalog:
    """The hypertables and aggregates of a database, by schema (None is the default) and name."""

    hypertables: dict[Key, HypertableState] = field(default_factory=dict)
    aggregates: dict[Key, AggregateState] = field(default_factory=dict)

    @property
    def relations(self) -> Mapping[Key, State]:
        """Hypertables and aggregates, each aggregate after its source."""
        return {**self.hypertables, **self.aggregates}


def read(connection: Connection) -> Catalog:
    """Read the catalog; it is empty where the extension is absent."""
    catalog = Catalog()
    if not has_extension(connection):
        return catalog
    default = connection.dialect.default_schema_name

    def key(schema: str, name: str) -> Key:
        return (None if schema == default else schema), name

    layouts = {(row.schema, row.name): row for row in connection.execute(_COLUMNSTORES)}
    policies: dict[tuple[Key, str], Any] = {}
    for row in connection.execute(_POLICIES):
        policies[key(row.schema, row.name), row.kind] = row

    def common(row: Any, stored: tuple[str, str]) -> dict[str, Any]:
        of_relation = key(row.schema, row.name)
        columnstore = None
        if row.compression_enabled and (layout := layouts.get(stored)):
            policy = policies.get((of_relation, "columnstore"))
            columnstore = Columnstore(
                tuple(unquoted(item.strip()) for item in _items(layout.segmentby)),
                ordering(_items(layout.orderby), layout.time_column),
                policy and _interval(policy.age),
            )
        retention = policies.get((of_relation, "retention"))
        return {
            "schema": of_relation[0],
            "name": row.name,
            "columnstore": columnstore,
            "retention": retention and _interval(retention.age),
        }

    for row in connection.execute(_HYPERTABLES):
        catalog.hypertables[key(row.schema, row.name)] = HypertableState(
            **common(row, (row.schema, row.name)),
            time_column=row.time_column,
            chunk_interval=Interval.of(Interval.read(row.chunk_interval).fixed or timedelta()),
        )
    # If an aggregate stands on another, the view names the hypertable in which that one is stored.
    stored: dict[Key, Key] = {}
    for row in connection.execute(_AGGREGATES):
        stored[row.stored_schema, row.stored_name] = key(row.schema, row.name)
        refresh = policies.get((key(row.schema, row.name), "refresh"))
        catalog.aggregates[key(row.schema, row.name)] = AggregateState(
            **common(row, (row.stored_schema, row.stored_name)),
            source=stored.get(
                (row.source_schema, row.source_name), key(row.source_schema, row.source_name)
            ),
            query=pretty(row.query),
            real_time=not row.materialized_only,
            refresh=refresh
            and RefreshPolicy(
                _interval(refresh.start_offset),
                _interval(refresh.end_offset),
                Interval.read(refresh.every),
            ),
        )
    return catalog


def _items(text: str | None) -> list[str]:
    return [item for item in (text or "").split(",") if item]


def _interval(text: str | None) -> Interval | None:
    return None if text is None else Interval.read(text)


def has_extension(connection: Connection) -> bool:
    """Whether the database has the extension."""
    found = connection.scalar(text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"))
    return found is not None


def canonical(connection: Connection, query: str) -> str | None:
    """A SELECT as PostgreSQL would print it; None when it can't be run here."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(ddl(f"CREATE TEMPORARY VIEW canonical_query AS {query}"))
        printed = connection.scalar(
            text("SELECT pg_get_viewdef('pg_temp.canonical_query'::regclass)")
        )
    except ProgrammingError:
        return None
    finally:
        savepoint.rollback()
    return pretty(str(printed))


def statement(name: str, /, **parts: str) -> str:
    """A statement of sql/, with `parts` in the place of the names in angle brackets."""
    found = (_SQL / f"{name}.sql").read_text(encoding="utf-8")
    parts["sources"] = (_SQL / "sources.sql").read_text(encoding="utf-8")
    for part, value in parts.items():
        found = found.replace(f"<{part}>", value)
    return found


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back an aggregate can be refreshed without a loss.

    Attributes:
        lost: a refresh that begins before this time erases buckets whose rows are gone; None if no
            refresh does.
        since: the same, but rows that the source's retention may drop now count as gone, too.
        now: the server's time.
    """

    lost: datetime | None
    since: datetime | None
    now: datetime

    def allows(self, start_offset: Interval | None) -> bool:
        """Whether a policy that begins at that age loses nothing."""
        if self.lost is None:
            return True
        return start_offset is not None and start_offset.longest <= self._seconds

    @property
    def start_offset(self) -> Interval:
        """The largest age, in whole days if there is one, at which a policy may begin."""
        days = int(self._seconds // 86_400)
        return Interval(days=days) if days else Interval(seconds=int(self._seconds))

    @property
    def _seconds(self) -> float:
        return (self.now - (self.lost or self.now)).total_seconds()


def reach(connection: Connection, relation: Key) -> Reach:
    """How far back an aggregate can be refreshed; can't be asked in a read-only session."""
    connection.execute(ddl(statement("reach")))
    row = connection.execute(
        text("SELECT lost, since, now() FROM pg_temp.reach(CAST(:name AS regclass))"),
        {"name": identifier(*relation)},
    ).one()
    return Reach(*row)


def attainable(
    connection: Connection, declared: Catalog, found: Catalog, *, redefined: set[Key]
) -> Catalog:
    """What is declared, with refresh windows that reach no further than the sources' rows do.

    Where the declared window would erase history, the one in the database stays; if that would do
    so too, the window ends where the rows do.
    """
    aggregates = dict(declared.aggregates)
    for key, wanted in declared.aggregates.items():
        there = found.aggregates.get(key)
        if key in redefined or there is None or there.refresh is None or wanted.refresh is None:
            continue
        bound = reach(connection, key)
        if not bound.allows(wanted.refresh.start_offset):
            start = there.refresh.start_offset
            start = start if bound.allows(start) else bound.start_offset
            aggregates[key] = replace(wanted, refresh=replace(wanted.refresh, start_offset=start))
    return Catalog(declared.hypertables, aggregates)


def ddl(statement: str) -> DDL:
    """A statement without parameters, whatever signs it holds."""
    return DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]


def pretty(query: str) -> str:
    """A view's definition without the padding and the semicolon of `pg_get_viewdef`."""
    return query.strip().removesuffix(";")


def _spelled(interval: str) -> str:
    """The interval as `Interval.read` reads it, whatever the IntervalStyle of the role."""
    return f"""to_char(({interval})::interval, 'YYYY "year" MM "month" DD "day" HH24:MI:SS')"""


_HYPERTABLES = text(
    f"""
    SELECT
        h.hypertable_schema AS schema,
        h.hypertable_name AS name,
        d.column_name AS time_column,
        {_spelled("d.time_interval")} AS chunk_interval,
        h.compression_enabled
    FROM timescaledb_information.hypertables AS h
    JOIN timescaledb_information.dimensions AS d
        USING (hypertable_schema, hypertable_name)
    WHERE d.dimension_number = 1 AND d.time_interval IS NOT NULL
    ORDER BY 1, 2
    """  # noqa: S608 (all of it stands here)
)

# An aggregate comes after the one that it selects from, since that was made before it.
_AGGREGATES = text(
    """
    SELECT
        view_schema AS schema,
        view_name AS name,
        hypertable_schema AS source_schema,
        hypertable_name AS source_name,
        materialization_hypertable_schema AS stored_schema,
        materialization_hypertable_name AS stored_name,
        materialized_only,
        compression_enabled,
        view_definition AS query
    FROM timescaledb_information.continuous_aggregates
    ORDER BY length(materialization_hypertable_name), materialization_hypertable_name
    """
)

_COLUMNSTORES = text(
    """
    SELECT
        s.segmentby,
        s.orderby,
        n.nspname AS schema,
        c.relname AS name,
        d.column_name AS time_column
    FROM timescaledb_information.hypertable_columnstore_settings AS s
    JOIN pg_class AS c ON c.oid = s.hypertable
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN timescaledb_information.dimensions AS d
        ON d.hypertable_schema = n.nspname AND d.hypertable_name = c.relname
        AND d.dimension_number = 1
    """
)

# The configuration of a policy shows its kind. The extension's own job, which prunes the history of
# jobs, belongs to no hypertable.
_POLICIES = text(
    f"""
    SELECT
        hypertable_schema AS schema,
        hypertable_name AS name,
        CASE
            WHEN config ? 'mat_hypertable_id' THEN 'refresh'
            WHEN config ? 'drop_after' THEN 'retention'
            ELSE 'columnstore'
        END AS kind,
        {_spelled("config ->> 'start_offset'")} AS start_offset,
        {_spelled("config ->> 'end_offset'")} AS end_offset,
        {_spelled("schedule_interval")} AS every,
        {_spelled("coalesce(config ->> 'drop_after', config ->> 'compress_after')")} AS age
    FROM timescaledb_information.jobs
    WHERE
        hypertable_name IS NOT NULL
        AND (
            config ? 'mat_hypertable_id'
            OR config ? 'drop_after'
            OR config ? 'compress_after'
        )
        -- An age that is a number belongs to a hypertable by integer; the layer makes none.
        AND 'number' NOT IN (
            coalesce(jsonb_typeof(config -> 'start_offset'), ''),
            coalesce(jsonb_typeof(config -> 'end_offset'), ''),
            coalesce(jsonb_typeof(config -> 'drop_after'), ''),
            coalesce(jsonb_typeof(config -> 'compress_after'), '')
        )
    ORDER BY job_id DESC
    """  # noqa: S608 (all of it stands here)
)
