"""What migrations call: `timescaledb.create_hypertable(…)` and so on.

Each function is an operation of Alembic. All but `refresh_continuous_aggregate` run within the
transaction of their migration, so a migration that fails leaves nothing of them behind; all may be
run again. `schema` is that of the relation; None is the default one.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec

import stamina
from alembic import op
from alembic.operations import MigrateOperation, Operations
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ..database import sqlstate
from ..database.errors import lock_was_taken
from . import catalog
from .errors import TimescaleDBError
from .extension import grows_in_place, refuse, unavailable, unfit
from .interval import Interval
from .state import identifier, quote

P = ParamSpec("P")


class Migration:
    """The running migration, or the SQL script that is written instead."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.context = operations.migration_context

    @property
    def connection(self) -> Connection | None:
        """The connection; None when a script is written."""
        return None if self.context.as_sql else self.context.connection

    def execute(self, statement: str) -> None:
        """Run a statement.

        Raises:
            TimescaleDBError: a statement of sql/ refuses; the message is its own.
        """
        try:
            self._operations.execute(catalog.ddl(statement))
        except DBAPIError as error:
            if sqlstate(error) != "P0001":
                raise
            raise TimescaleDBError(error.orig.diag.message_primary) from None  # type: ignore[union-attr]

    def run(self, name: str, /, **parts: str) -> None:
        self.execute(catalog.statement(name, **parts))


@dataclass(eq=False)
class Call(MigrateOperation):
    """A call of one of the functions below.

    Attributes:
        inverse: the operation that undoes it; set by autogenerate.
        note: the comment above it in the migration.
    """

    function: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    inverse: MigrateOperation | None = field(default=None, init=False)
    note: str = field(default="", init=False)

    def reverse(self) -> MigrateOperation:
        if self.inverse is None:
            raise NotImplementedError(f"{self.function} does not know what undoes it.")
        return self.inverse

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return (self.function, *self.arguments, *self.options.values())


@dataclass(eq=False)
class Implied(MigrateOperation):
    """What another operation of the same migration does already; it writes nothing."""

    inverse: MigrateOperation

    def reverse(self) -> MigrateOperation:
        return self.inverse

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("implied",)


_BODIES: dict[str, Callable[..., None]] = {}


def _operation(body: Callable[Concatenate[Migration, P], None]) -> Callable[P, None]:
    @wraps(body)
    def invoke(*args: P.args, **kwargs: P.kwargs) -> None:
        op.invoke(call(invoke, *args, **kwargs))

    _BODIES[body.__name__] = body
    return invoke


def call(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> Call:
    """The operation that a function stands for, without arguments that are at their defaults."""
    parameters = signature(function).parameters
    options = {name: value for name, value in kwargs.items() if value != parameters[name].default}
    return Call(function.__name__, args, options)


@Operations.implementation_for(Call)
def _run(operations: Operations, operation: Call) -> None:
    body = _BODIES[operation.function]
    body(Migration(operations), *operation.arguments, **operation.options)


def literal(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def _regclass(relation: str, schema: str | None) -> str:
    """A relation as the text that TimescaleDB's functions take."""
    return literal(identifier(schema, relation))


def _span(value: str | None) -> str:
    return "NULL" if value is None else f"INTERVAL '{Interval.read(value)}'"


@_operation
def create_extension(migration: Migration) -> None:
    """Create the extension, or refuse with a sentence and leave nothing behind.

    Raises:
        TimescaleDBError: TimescaleDB is absent, not preloaded, too old, or the Apache edition.
    """
    connection = migration.connection
    if connection is not None:
        refuse(unavailable(connection))
    # The migration may have no transaction of its own.
    with connection.begin_nested() if connection is not None else nullcontext():
        migration.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        if connection is not None:
            # Only an existing extension shows its edition.
            refuse(unfit(connection))


@_operation
def drop_extension(migration: Migration) -> None:
    """Drop the extension; refused by the server while a hypertable is left."""
    migration.execute("DROP EXTENSION IF EXISTS timescaledb")


@_operation
def create_hypertable(
    migration: Migration,
    table: str,
    time_column: str,
    *,
    chunk_interval: str,
    schema: str | None = None,
) -> None:
    """Partition a table by time; the rows that it holds move into chunks.

    That locks the table and takes as long as copying it does.
    """
    migration.execute(
        f"SELECT create_hypertable({_regclass(table, schema)}, "
        f"by_range({literal(time_column)}, {_span(chunk_interval)}), "
        "create_default_indexes => false, migrate_data => true, if_not_exists => true)"
    )


@_operation
def convert_to_plain_table(migration: Migration, table: str, *, schema: str | None = None) -> None:
    """Make a hypertable a plain table again, with its rows, keys, indexes and rights.

    The rows are copied. Drop its continuous aggregates and its policies of row-level security
    before: the copy would lack them, so the server refuses.
    """
    plain = f"plain_{table}"[:63]
    # Runs on the server, as all of sql/ does, so that it can be written into a script as well.
    migration.run(
        "convert_to_plain_table",
        relation=_regclass(table, schema),
        name=identifier(schema, table),
        copy=_regclass(plain, schema),
        plain=identifier(schema, plain),
        new=quote(table),
    )


@_operation
def set_chunk_interval(
    migration: Migration, table: str, chunk_interval: str, *, schema: str | None = None
) -> None:
    """Let new chunks span another time; existing chunks stay as they are."""
    migration.execute(
        f"SELECT set_chunk_time_interval({_regclass(table, schema)}, {_span(chunk_interval)})"
    )


@_operation
def set_columnstore(
    migration: Migration,
    relation: str,
    *,
    segment_by: Sequence[str],
    order_by: Sequence[str],
    after: str | None,
    aggregate: bool = False,
    schema: str | None = None,
) -> None:
    """Convert chunks older than `after` to the columnstore; with None, convert no more chunks.

    Chunks that are columnar already keep their layout.

    Args:
        order_by: as SQL writes it, such as `"at DESC"`.
        aggregate: the relation is a continuous aggregate.
    """
    _alter(
        migration,
        identifier(schema, relation),
        aggregate,
        "timescaledb.enable_columnstore = true, "
        f"timescaledb.segmentby = {literal(', '.join(map(quote, segment_by)))}, "
        f"timescaledb.orderby = {literal(', '.join(order_by))}",
    )
    name = _regclass(relation, schema)
    # An existing policy with another age would stay, with a warning and nothing more.
    migration.execute(f"CALL remove_columnstore_policy({name}, if_exists => true)")
    if after is not None:
        migration.execute(f"CALL add_columnstore_policy({name}, after => {_span(after)})")


@_operation
def disable_columnstore(
    migration: Migration, relation: str, *, aggregate: bool = False, schema: str | None = None
) -> None:
    """Switch the columnstore off; chunks that are columnar become rows again."""
    name = _regclass(relation, schema)
    migration.execute(f"CALL remove_columnstore_policy({name}, if_exists => true)")
    migration.execute(
        f"DO $$ DECLARE chunk regclass; BEGIN FOR chunk IN SELECT show_chunks({name}) LOOP "
        "CALL convert_to_rowstore(chunk, if_columnstore => true); END LOOP; END $$"
    )
    _alter(
        migration,
        identifier(schema, relation),
        aggregate,
        "timescaledb.enable_columnstore = false",
    )


def _alter(migration: Migration, name: str, aggregate: bool, settings: str) -> None:
    kind = "MATERIALIZED VIEW" if aggregate else "TABLE"
    migration.execute(f"ALTER {kind} {name} SET ({settings})")


@_operation
def set_retention_policy(
    migration: Migration, relation: str, *, drop_after: str, schema: str | None = None
) -> None:
    """Drop chunks when all that they hold is older than `drop_after`.

    Raises:
        TimescaleDBError: a continuous aggregate is refreshed from further back, which would erase
            its history.
    """
    name = _forget_retention(migration, relation, schema)
    migration.execute(f"SELECT add_retention_policy({name}, drop_after => {_span(drop_after)})")
    migration.run("refuse_erasing", relation=name)


@_operation
def remove_retention_policy(
    migration: Migration, relation: str, *, schema: str | None = None
) -> None:
    """Keep the data from now on."""
    _forget_retention(migration, relation, schema)


def _forget_retention(migration: Migration, relation: str, schema: str | None) -> str:
    name = _regclass(relation, schema)
    migration.run("remember_dropped", relation=name)
    migration.execute(f"SELECT remove_retention_policy({name}, if_exists => true)")
    return name


@_operation
def create_continuous_aggregate(
    migration: Migration,
    name: str,
    query: str,
    *,
    real_time: bool = False,
    schema: str | None = None,
) -> None:
    """Create a continuous aggregate without data; `refresh_continuous_aggregate` fills it."""
    migration.execute(
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {identifier(schema, name)} WITH "
        f"(timescaledb.continuous, timescaledb.materialized_only = {not real_time}) AS\n"
        f"{query.strip()}\nWITH NO DATA"
    )


@_operation
def add_aggregate_column(
    migration: Migration,
    name: str,
    column: str,
    type_: str,
    expression: str,
    *,
    schema: str | None = None,
) -> None:
    """Add a column at the end of a continuous aggregate, which keeps all that it holds.

    Buckets have NULL in it until `refresh_continuous_aggregate(…, force=True)` computes it, and for
    ever if the source has dropped their rows. No version of TimescaleDB can drop such a column.

    Args:
        expression: the column's expression in the SELECT.

    Raises:
        TimescaleDBError: TimescaleDB is older than 2.28, which is the first that can do so.
    """
    if migration.connection is not None and not grows_in_place(migration.connection):
        raise TimescaleDBError(
            f"The column {column} can't be added to {name} before TimescaleDB 2.28; update the "
            "extension, or write the migration with the version that it is to run on."
        )
    migration.run(
        "add_aggregate_column",
        relation=_regclass(name, schema),
        column=literal(column),
        view=identifier(schema, name),
        definition=f"{quote(column)} {type_} GENERATED ALWAYS AS ({expression}) STORED",
    )


@_operation
def drop_continuous_aggregate(
    migration: Migration, name: str, *, rebuilt: bool = False, schema: str | None = None
) -> None:
    """Drop a continuous aggregate with its policies and all that it has materialized.

    Raises:
        TimescaleDBError: it is `rebuilt`, which means created again below, and would lose buckets
            for which its source has no rows any more.
    """
    if rebuilt:
        migration.run("reach")
        migration.run("refuse_loss", relation=_regclass(name, schema))
    migration.execute(f"DROP MATERIALIZED VIEW IF EXISTS {identifier(schema, name)}")


@_operation
def set_real_time(
    migration: Migration, name: str, real_time: bool, *, schema: str | None = None
) -> None:
    """Let an aggregate also answer with its source's rows beyond the last refresh, or not."""
    _alter(
        migration,
        identifier(schema, name),
        True,
        f"timescaledb.materialized_only = {not real_time}",
    )


@_operation
def set_refresh_policy(
    migration: Migration,
    name: str,
    *,
    start_offset: str | None,
    end_offset: str | None,
    every: str,
    schema: str | None = None,
) -> None:
    """Refresh an aggregate on schedule, from `start_offset` to `end_offset` before now.

    Where its source has lost rows within that window, the policy begins after them.

    Raises:
        TimescaleDBError: its source drops data within that window, so that the refresh would erase
            history.
    """
    relation = _regclass(name, schema)
    migration.run("reach")
    migration.run(
        "set_refresh_policy",
        relation=relation,
        start=_span(start_offset),
        end=_span(end_offset),
        every=_span(every),
    )
    migration.run("refuse_erasing", relation=relation)


@_operation
def remove_refresh_policy(migration: Migration, name: str, *, schema: str | None = None) -> None:
    """Stop refreshing an aggregate on schedule."""
    relation = _regclass(name, schema)
    migration.execute(f"SELECT remove_continuous_aggregate_policy({relation}, if_exists => true)")


@_operation
def refresh_continuous_aggregate(
    migration: Migration, name: str, *, force: bool = False, schema: str | None = None
) -> None:
    """Materialize all that the source of an aggregate surely holds; with `force`, once more.

    Runs outside the migration's transaction: what the migration did before is committed then.
    Refresh before the policies of the aggregate are set, since their runs would get in the way.
    """
    with migration.context.autocommit_block():
        migration.run("reach")
        # A policy's refresh of the same aggregate may be running.
        for attempt in stamina.retry_context(on=lock_was_taken, attempts=10, timeout=60):
            with attempt:
                migration.run(
                    "refresh",
                    relation=_regclass(name, schema),
                    force=", force => true" if force else "",
                )
