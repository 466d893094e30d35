"""What migrations type: `timescaledb.create_hypertable(…)` and so on.

Each function is an operation of Alembic. All but `refresh_continuous_aggregate` run within the
transaction of their migration, so a migration that fails leaves nothing of them behind; all may be
run again.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, ParamSpec

import stamina
from alembic import op
from alembic.operations import MigrateOperation, Operations
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ..database import sqlstate
from . import catalog
from .declarations import erasing
from .errors import TimescaleDBError
from .extension import refuse, unavailable, unfit
from .interval import Interval
from .state import direction

P = ParamSpec("P")


@dataclass(eq=False)
class TimescaleOperation(MigrateOperation):
    """An operation; autogenerate sets what undoes it, and a note that stands above it."""

    function: ClassVar[str]

    inverse: MigrateOperation | None = field(default=None, init=False)
    note: str = field(default="", init=False)

    def reverse(self) -> MigrateOperation:
        if self.inverse is None:
            raise NotImplementedError(f"{self.function} does not know what undoes it.")
        return self.inverse

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return (self.function, *self.arguments().values())

    def arguments(self) -> dict[str, Any]:
        """The arguments of the function that a migration calls."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}

    def run(self, migration: "Migration") -> None:
        """Do it."""
        raise NotImplementedError


class Migration:
    """The running migration, with the few things that operations need of it."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.context = operations.migration_context

    @property
    def connection(self) -> Connection | None:
        """The connection; None when a script is written."""
        return None if self.context.as_sql else self.context.connection

    def execute(self, statement: str) -> None:
        self._operations.execute(catalog.ddl(statement))

    def name(self, relation: str, schema: str | None) -> str:
        """A relation as an identifier."""
        quote = self.context.dialect.identifier_preparer.quote
        return ".".join(quote(part) for part in (schema, relation) if part)

    def column(self, name: str) -> str:
        return self.context.dialect.identifier_preparer.quote(name)

    def regclass(self, relation: str, schema: str | None) -> str:
        """A relation as the text that TimescaleDB's functions take."""
        return literal(self.name(relation, schema))

    def key(self, relation: str, schema: str | None) -> catalog.Key:
        default = self.context.dialect.default_schema_name
        return (None if schema == default else schema), relation

    def catalog(self) -> catalog.Catalog:
        """What the database has by now; nothing when a script is written."""
        connection = self.connection
        return catalog.Catalog() if connection is None else catalog.read(connection)

    def guard(self, relation: str) -> None:
        """In a script, which knows no policies: let the server refuse those that erase history.

        Args:
            relation: what `regclass` gave, of the aggregate or of its source.
        """
        if self.connection is None:
            self.execute(catalog.statement("refuse_erasing").replace("<'relation'>", relation))


def literal(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def span(value: str | None) -> str:
    """An interval as SQL writes it."""
    return "NULL" if value is None else f"INTERVAL '{Interval.read(value)}'"


@Operations.implementation_for(TimescaleOperation)
def _run(operations: Operations, operation: TimescaleOperation) -> None:
    operation.run(Migration(operations))


def _function(operation: Callable[P, TimescaleOperation]) -> Callable[P, None]:
    def invoke(*args: P.args, **kwargs: P.kwargs) -> None:
        op.invoke(operation(*args, **kwargs))

    invoke.__doc__ = operation.__doc__
    return invoke


class Implied(MigrateOperation):
    """What another operation of the same migration does already; it writes nothing."""

    def __init__(self, inverse: MigrateOperation) -> None:
        self.inverse = inverse

    def reverse(self) -> MigrateOperation:
        return self.inverse

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("implied",)


# ---------------------------------------------------------------------------------------
# The extension
# ---------------------------------------------------------------------------------------
@dataclass(eq=False)
class CreateExtension(TimescaleOperation):
    """Create the extension, or refuse with a sentence and leave nothing behind.

    Raises:
        TimescaleDBError: TimescaleDB is absent, not preloaded, too old, or the Apache edition.
    """

    function = "create_extension"

    def run(self, migration: Migration) -> None:
        connection = migration.connection
        if connection is not None:
            refuse(unavailable(connection))
        with connection.begin_nested() if connection is not None else nullcontext():
            migration.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            if connection is not None:
                # The edition shows only once the extension is there.
                refuse(unfit(connection))


@dataclass(eq=False)
class DropExtension(TimescaleOperation):
    """Drop the extension; refused by the server while a hypertable is left."""

    function = "drop_extension"

    def run(self, migration: Migration) -> None:
        migration.execute("DROP EXTENSION IF EXISTS timescaledb")


# ---------------------------------------------------------------------------------------
# Hypertables
# ---------------------------------------------------------------------------------------
@dataclass(eq=False)
class CreateHypertable(TimescaleOperation):
    """Partition a table by time; the rows that it holds move into chunks.

    That locks the table and takes as long as copying it does.
    """

    function = "create_hypertable"

    table: str
    time_column: str
    chunk_interval: str = field(kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        migration.execute(
            f"SELECT create_hypertable({migration.regclass(self.table, self.schema)}, "
            f"by_range({literal(self.time_column)}, {span(self.chunk_interval)}), "
            "create_default_indexes => false, migrate_data => true, if_not_exists => true)"
        )


@dataclass(eq=False)
class ConvertToPlainTable(TimescaleOperation):
    """Make a hypertable a plain table again, its rows, keys, indexes and rights included.

    The rows are copied. Its continuous aggregates must be dropped before, and so must policies of
    row-level security: the server refuses what the copy would lack.
    """

    function = "convert_to_plain_table"

    table: str
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        name = migration.name(self.table, self.schema)
        plain = migration.name(f"plain_{self.table}"[:63], self.schema)
        # On the server, as all of sql/, so that it can be written into a script as well.
        migration.execute(
            catalog.statement("convert_to_plain_table")
            .replace("<name>", name)
            .replace("<plain>", plain)
            .replace("<'name'>", literal(name))
            .replace("<'plain'>", literal(plain))
            .replace("<new>", migration.column(self.table))
        )


@dataclass(eq=False)
class SetChunkInterval(TimescaleOperation):
    """Let the chunks made from now on span another time; those there are stay as they are."""

    function = "set_chunk_interval"

    table: str
    chunk_interval: str
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        migration.execute(
            f"SELECT set_chunk_time_interval({migration.regclass(self.table, self.schema)}, "
            f"{span(self.chunk_interval)})"
        )


# ---------------------------------------------------------------------------------------
# Columnstore and policies, of hypertables and of continuous aggregates
# ---------------------------------------------------------------------------------------
@dataclass(eq=False)
class SetColumnstore(TimescaleOperation):
    """Switch the columnstore on, or change how it lays out the chunks converted from now on."""

    function = "set_columnstore"

    relation: str
    segment_by: Sequence[str] = field(kw_only=True)
    order_by: Sequence[str] = field(kw_only=True)
    aggregate: bool = field(default=False, kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        segment_by = ", ".join(migration.column(name) for name in self.segment_by)
        order_by = ", ".join(_ordered(migration, item) for item in self.order_by)
        name = migration.name(self.relation, self.schema)
        migration.execute(
            f"ALTER {_kind(self.aggregate)} {name} SET "
            "(timescaledb.enable_columnstore = true, "
            f"timescaledb.segmentby = {literal(segment_by)}, "
            f"timescaledb.orderby = {literal(order_by)})"
        )


def _kind(aggregate: bool) -> str:
    return "MATERIALIZED VIEW" if aggregate else "TABLE"


def _ordered(migration: Migration, item: str) -> str:
    name, way = direction(item)
    return f"{migration.column(name)}{way}"


@dataclass(eq=False)
class DisableColumnstore(TimescaleOperation):
    """Switch the columnstore off; chunks that are columnar become rows again."""

    function = "disable_columnstore"

    relation: str
    aggregate: bool = field(default=False, kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        relation = migration.regclass(self.relation, self.schema)
        migration.execute(f"CALL remove_columnstore_policy({relation}, if_exists => true)")
        migration.execute(
            "DO $$ DECLARE chunk regclass; BEGIN "
            f"FOR chunk IN SELECT show_chunks({relation}) LOOP "
            "CALL convert_to_rowstore(chunk, if_columnstore => true); END LOOP; END $$"
        )
        name = migration.name(self.relation, self.schema)
        migration.execute(
            f"ALTER {_kind(self.aggregate)} {name} SET (timescaledb.enable_columnstore = false)"
        )


@dataclass(eq=False)
class SetColumnstorePolicy(TimescaleOperation):
    """Convert chunks to the columnstore when they are older than `after`."""

    function = "set_columnstore_policy"

    relation: str
    after: str = field(kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        relation = migration.regclass(self.relation, self.schema)
        # An existing policy with another age would stay, with a warning and nothing more.
        migration.execute(f"CALL remove_columnstore_policy({relation}, if_exists => true)")
        migration.execute(f"CALL add_columnstore_policy({relation}, after => {span(self.after)})")


@dataclass(eq=False)
class RemoveColumnstorePolicy(TimescaleOperation):
    """Convert no more chunks; those that are columnar stay so."""

    function = "remove_columnstore_policy"

    relation: str
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        relation = migration.regclass(self.relation, self.schema)
        migration.execute(f"CALL remove_columnstore_policy({relation}, if_exists => true)")


@dataclass(eq=False)
class SetRetentionPolicy(TimescaleOperation):
    """Drop chunks when all that they hold is older than `drop_after`.

    Raises:
        TimescaleDBError: a continuous aggregate is refreshed from further back, which would erase
            its history.
    """

    function = "set_retention_policy"

    relation: str
    drop_after: str = field(kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        drop_after = Interval.of(self.drop_after)
        key = migration.key(self.relation, self.schema)
        for state in migration.catalog().aggregates.values():
            if state.source == key and state.refresh is not None:
                _refuse_erasing(state.name, state.refresh.start_offset, self.relation, drop_after)
        relation = migration.regclass(self.relation, self.schema)
        migration.execute(f"SELECT remove_retention_policy({relation}, if_exists => true)")
        migration.execute(
            f"SELECT add_retention_policy({relation}, drop_after => {span(self.drop_after)})"
        )
        migration.guard(relation)


@dataclass(eq=False)
class RemoveRetentionPolicy(TimescaleOperation):
    """Keep the data from now on."""

    function = "remove_retention_policy"

    relation: str
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        relation = migration.regclass(self.relation, self.schema)
        migration.execute(f"SELECT remove_retention_policy({relation}, if_exists => true)")


# ---------------------------------------------------------------------------------------
# Continuous aggregates
# ---------------------------------------------------------------------------------------
@dataclass(eq=False)
class CreateContinuousAggregate(TimescaleOperation):
    """Create a continuous aggregate without data; `refresh_continuous_aggregate` fills it."""

    function = "create_continuous_aggregate"

    name: str
    query: str
    real_time: bool = field(default=False, kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        materialized_only = "false" if self.real_time else "true"
        migration.execute(
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {migration.name(self.name, self.schema)} WITH "
            f"(timescaledb.continuous, timescaledb.materialized_only = {materialized_only}) AS\n"
            f"{self.query.strip()}\nWITH NO DATA"
        )


@dataclass(eq=False)
class DropContinuousAggregate(TimescaleOperation):
    """Drop a continuous aggregate with its policies and all that it has materialized.

    With `rebuilt`, when it is created again below, the server refuses to lose buckets that its
    source has no rows for any more.
    """

    function = "drop_continuous_aggregate"

    name: str
    rebuilt: bool = field(default=False, kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        name = migration.name(self.name, self.schema)
        if self.rebuilt:
            relation = migration.regclass(self.name, self.schema)
            migration.execute(catalog.statement("refreshable_since"))
            migration.execute(catalog.statement("refuse_loss").replace("<'name'>", relation))
        migration.execute(f"DROP MATERIALIZED VIEW IF EXISTS {name}")


@dataclass(eq=False)
class SetRealTime(TimescaleOperation):
    """Let an aggregate answer with what its source holds beyond the last refresh, or not."""

    function = "set_real_time"

    name: str
    real_time: bool
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        materialized_only = "false" if self.real_time else "true"
        migration.execute(
            f"ALTER MATERIALIZED VIEW {migration.name(self.name, self.schema)} "
            f"SET (timescaledb.materialized_only = {materialized_only})"
        )


@dataclass(eq=False)
class SetRefreshPolicy(TimescaleOperation):
    """Refresh an aggregate on schedule, from `start_offset` to `end_offset` before now.

    Where its source has lost rows within that window, the policy begins after them.

    Raises:
        TimescaleDBError: its source drops data within that window, so that the refresh would erase
            history.
    """

    function = "set_refresh_policy"

    name: str
    start_offset: str | None = field(kw_only=True)
    end_offset: str | None = field(kw_only=True)
    every: str = field(kw_only=True)
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        found = migration.catalog()
        state = found.aggregates.get(migration.key(self.name, self.schema))
        if state is not None and (retention := found.retention(state.source)):
            start_offset = None if self.start_offset is None else Interval.read(self.start_offset)
            _refuse_erasing(self.name, start_offset, state.source[1], retention)
        name = migration.regclass(self.name, self.schema)
        migration.execute(catalog.statement("refreshable_since"))
        migration.execute(
            catalog.statement("set_refresh_policy")
            .replace("<'name'>", name)
            .replace("<start>", span(self.start_offset))
            .replace("<end>", span(self.end_offset))
            .replace("<every>", span(self.every))
        )
        migration.guard(name)


def _refuse_erasing(
    aggregate: str, start_offset: Interval | None, source: str, retention: Interval
) -> None:
    if start_offset is None or start_offset.longest >= retention.shortest:
        raise TimescaleDBError(erasing(aggregate, start_offset, source, retention))


@dataclass(eq=False)
class RemoveRefreshPolicy(TimescaleOperation):
    """Refresh an aggregate no more by itself."""

    function = "remove_refresh_policy"

    name: str
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        name = migration.regclass(self.name, self.schema)
        migration.execute(f"SELECT remove_continuous_aggregate_policy({name}, if_exists => true)")


@dataclass(eq=False)
class RefreshContinuousAggregate(TimescaleOperation):
    """Materialize all that the source of an aggregate holds for certain.

    Runs outside the migration's transaction: what the migration did before is committed then.
    Refresh before the policies of the aggregate are set, since theirs would get in the way.
    """

    function = "refresh_continuous_aggregate"

    name: str
    schema: str | None = field(default=None, kw_only=True)

    def run(self, migration: Migration) -> None:
        name = migration.regclass(self.name, self.schema)
        statement = catalog.statement("refresh").replace("<'name'>", name)
        with migration.context.autocommit_block():
            migration.execute(catalog.statement("refreshable_since"))
            # A policy's refresh of the same aggregate may be running.
            for attempt in stamina.retry_context(
                on=lambda error: isinstance(error, DBAPIError) and sqlstate(error) == "55P03",
                attempts=10,
                timeout=60,
            ):
                with attempt:
                    migration.execute(statement)


create_extension = _function(CreateExtension)
drop_extension = _function(DropExtension)
create_hypertable = _function(CreateHypertable)
convert_to_plain_table = _function(ConvertToPlainTable)
set_chunk_interval = _function(SetChunkInterval)
set_columnstore = _function(SetColumnstore)
disable_columnstore = _function(DisableColumnstore)
set_columnstore_policy = _function(SetColumnstorePolicy)
remove_columnstore_policy = _function(RemoveColumnstorePolicy)
set_retention_policy = _function(SetRetentionPolicy)
remove_retention_policy = _function(RemoveRetentionPolicy)
create_continuous_aggregate = _function(CreateContinuousAggregate)
drop_continuous_aggregate = _function(DropContinuousAggregate)
set_real_time = _function(SetRealTime)
set_refresh_policy = _function(SetRefreshPolicy)
remove_refresh_policy = _function(RemoveRefreshPolicy)
refresh_continuous_aggregate = _function(RefreshContinuousAggregate)
