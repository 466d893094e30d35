"""What a database has: read from TimescaleDB's own views, internal objects left out."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import DDL, Connection, text
from sqlalchemy.exc import ProgrammingError

from .interval import Interval
from .state import AggregateState, Columnstore, HypertableState, RefreshPolicy, ordering, unquoted

Key = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The hypertables and aggregates of a database, by schema (None is the default) and name."""

    hypertables: dict[Key, HypertableState] = field(default_factory=dict)
    aggregates: dict[Key, AggregateState] = field(default_factory=dict)

    def dependents(self, relation: Key) -> list[AggregateState]:
        """The aggregates that select from `relation`, and those on top of them, in that order."""
        found = []
        for state in self.aggregates.values():
            if state.source == relation:
                found += [state, *self.dependents((state.schema, state.name))]
        return found

    def retention(self, relation: Key) -> Interval | None:
        """After which age `relation` drops its data."""
        state = self.hypertables.get(relation) or self.aggregates.get(relation)
        return None if state is None else state.retention


def read(connection: Connection) -> Catalog:
    """Read the catalog; it is empty where the extension is absent."""
    if not has_extension(connection):
        return Catalog()
    default = connection.dialect.default_schema_name

    def key(schema: str, name: str) -> Key:
        return (None if schema == default else schema), name

    settings = {
        (row.schema, row.name): Columnstore(
            tuple(unquoted(item.strip()) for item in (row.segmentby or "").split(",") if item),
            ordering([item for item in (row.orderby or "").split(",") if item], row.time_column),
        )
        for row in connection.execute(_COLUMNSTORES)
    }
    policies: dict[Key, dict[str, Any]] = {}
    for row in connection.execute(_POLICIES):
        of_relation = policies.setdefault(key(row.schema, row.name), {})
        if row.kind == "refresh":
            of_relation["refresh"] = RefreshPolicy(
                row.start_offset and Interval.read(row.start_offset),
                row.end_offset and Interval.read(row.end_offset),
                Interval.read(row.every),
            )
        else:
            of_relation[row.kind] = row.age and Interval.read(row.age)
    catalog = Catalog()
    for row in connection.execute(_HYPERTABLES):
        found = policies.get(key(row.schema, row.name), {})
        catalog.hypertables[key(row.schema, row.name)] = HypertableState(
            *key(row.schema, row.name),
            row.time_column,
            Interval.of(row.chunk_interval),
            settings.get((row.schema, row.name)) if row.compression_enabled else None,
            found.get("columnstore"),
            found.get("retention"),
        )
    # Where an aggregate stands on another, the source is named by what that one stores.
    stored: dict[Key, Key] = {}
    for row in connection.execute(_AGGREGATES):
        found = policies.get(key(row.schema, row.name), {})
        stored[row.stored_schema, row.stored_name] = key(row.schema, row.name)
        catalog.aggregates[key(row.schema, row.name)] = AggregateState(
            *key(row.schema, row.name),
            stored.get(
                (row.source_schema, row.source_name), key(row.source_schema, row.source_name)
            ),
            pretty(row.query),
            not row.materialized_only,
            settings.get((row.stored_schema, row.stored_name)) if row.compression_enabled else None,
            found.get("columnstore"),
            found.get("retention"),
            found.get("refresh"),
        )
    return catalog


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


def ddl(statement: str) -> DDL:
    """A statement without parameters, whatever signs it holds."""
    return DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]


def pretty(query: str) -> str:
    """A view's definition without the padding and the semicolon of `pg_get_viewdef`."""
    return query.strip().removesuffix(";")


def _spelled(interval: str) -> str:
    """What `Interval.read` reads, whatever IntervalStyle the role has, or who made a policy had."""
    parts = {
        "months": "extract(year FROM {0}) * 12 + extract(month FROM {0})",
        "days": "extract(day FROM {0})",
        "seconds": "extract(hour FROM {0}) * 3600 + extract(minute FROM {0}) * 60"
        " + trunc(extract(second FROM {0}))",
    }
    return " || ".join(
        f"({part.format(f'({interval})::interval')}) || ' {unit} '" for unit, part in parts.items()
    )


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

# An aggregate comes after the one that it stands on, since that was made before it.
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

# The kinds are told apart by what they are configured with; the extension's job of its own that
# prunes its history belongs to no hypertable.
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
        -- Of hypertables partitioned by a number, which are none of ours.
        AND 'number' NOT IN (
            coalesce(jsonb_typeof(config -> 'start_offset'), ''),
            coalesce(jsonb_typeof(config -> 'end_offset'), ''),
            coalesce(jsonb_typeof(config -> 'drop_after'), ''),
            coalesce(jsonb_typeof(config -> 'compress_after'), '')
        )
    ORDER BY job_id DESC
    """  # noqa: S608 (all of it stands here)
)
