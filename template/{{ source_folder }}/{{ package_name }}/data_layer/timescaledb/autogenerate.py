"""What `alembic revision --autogenerate` finds different, and how it writes it down."""

import re
from collections.abc import Callable, Collection
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import CreateTableOp, DropTableOp, MigrateOperation, UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, MetaData, Table

from . import catalog
from . import operations as ts
from .catalog import Catalog
from .declarations import aggregates, hypertables
from .errors import TimescaleDBError
from .extension import grows_in_place
from .growth import gained
from .interval import Interval
from .operations import Call, Implied, call
from .state import AggregateState, HypertableState, Key, State


def hide_internal_schemas(
    _context: AutogenContext, _operations: UpgradeOps, schemas: set[str | None]
) -> PriorityDispatchResult:
    """Leave TimescaleDB's own schemas out, where Alembic is told to look at all of them."""
    schemas -= {
        schema
        for schema in schemas
        if schema is not None and schema.startswith(("_timescaledb_", "timescaledb_"))
    }
    return PriorityDispatchResult.CONTINUE


def compare(
    context: AutogenContext, upgrade: UpgradeOps, schemas: set[str | None]
) -> PriorityDispatchResult:
    """Add the operations that bring hypertables and aggregates to what is declared."""
    connection = context.connection
    metadata = context.metadata
    if connection is None or not isinstance(metadata, MetaData):
        return PriorityDispatchResult.CONTINUE
    declared = declared_catalog(metadata)
    dropped = _tables(upgrade, DropTableOp, connection)
    kept = {(table.schema, table.name) for table in metadata.tables.values()}
    everything = catalog.read(connection)
    found = Catalog(
        # A hypertable that is neither kept nor dropped belongs to somebody else.
        {key: state for key, state in everything.hypertables.items() if key in kept | dropped},
        {
            key: state
            for key, state in everything.aggregates.items()
            if _looked_at(context, schemas, key)
        },
    )
    grown = _growth(metadata, found, connection)
    changed = redefined(declared, found, connection, grown=grown)
    steps = Steps(
        catalog.attainable(connection, declared, found, redefined=changed),
        found,
        created=_tables(upgrade, CreateTableOp, connection),
        dropped=dropped,
        changed=changed,
    )
    steps.grow({key: additions for key, additions in grown.items() if key not in changed})
    if declared.hypertables and not catalog.has_extension(connection):
        steps.before.append(_pair(call(ts.create_extension), call(ts.drop_extension)))
    steps.compare()
    upgrade.ops[:] = [*steps.before, *upgrade.ops, *steps.after]
    return PriorityDispatchResult.CONTINUE


def _looked_at(context: AutogenContext, schemas: set[str | None], key: Key) -> bool:
    """Whether Alembic is told to compare a view; its filters are asked as for a table."""
    schema, name = key
    return (
        schema in schemas
        and context.run_name_filters(name, "table", {"schema_name": schema})
        and context.run_object_filters(
            Table(name, MetaData(), schema=schema), name, "table", True, None
        )
    )


def declared_catalog(metadata: MetaData) -> Catalog:
    """What the models declare, in the form in which a database's catalog is read."""
    declared = Catalog()
    for hypertable in hypertables(metadata):
        state = hypertable.state()
        declared.hypertables[state.key] = state
    for aggregate in aggregates(metadata):
        declared.aggregates[aggregate.schema, aggregate.name] = aggregate.state()
    return declared


def _growth(metadata: MetaData, found: Catalog, connection: Connection) -> dict[Key, list[Call]]:
    """Operations that add columns to aggregates whose SELECT has only gained columns at its end."""
    if not grows_in_place(connection):
        return {}
    growth = {}
    for aggregate in aggregates(metadata):
        key = aggregate.schema, aggregate.name
        state = found.aggregates.get(key)
        if state and (additions := gained(connection, aggregate, state.query)):
            growth[key] = additions
    return growth


def redefined(
    declared: Catalog, found: Catalog, connection: Connection, *, grown: Collection[Key] = ()
) -> set[Key]:
    """The aggregates whose SELECT is declared differently, and all that read from them.

    An aggregate that has `grown` counts only if it reads from such an aggregate.
    """
    changed = set()
    for key, state in found.aggregates.items():
        wanted = declared.aggregates.get(key)
        if wanted is not None and (
            state.source in changed
            or wanted.source != state.source
            or (key not in grown and catalog.canonical(connection, wanted.query) != state.query)
        ):
            changed.add(key)
    return changed


def _tables(
    upgrade: UpgradeOps, kind: type[CreateTableOp | DropTableOp], connection: Connection
) -> set[Key]:
    default = connection.dialect.default_schema_name
    return {
        (None if item.schema == default else item.schema, item.table_name)
        for item in upgrade.ops
        if isinstance(item, kind)
    }


def _pair(operation: Call, inverse: MigrateOperation) -> Call:
    operation.inverse = inverse
    if isinstance(inverse, (Call, Implied)):
        inverse.inverse = operation
    return operation


def _later(inverse: Call) -> Implied:
    """The upgrade does nothing; the downgrade runs `inverse`."""
    implied = Implied(inverse)
    inverse.inverse = implied
    return implied


def _with(operation: Call) -> Call:
    """The upgrade runs `operation`; the downgrade does nothing, as it drops the whole relation."""
    operation.inverse = Implied(operation)
    return operation


class Steps:
    """Collects operations that come before and after those of the tables themselves."""

    def __init__(
        self,
        declared: Catalog,
        found: Catalog,
        *,
        created: set[Key],
        dropped: set[Key],
        changed: set[Key],
    ) -> None:
        self.declared = declared
        self.found = found
        self.created = created
        self.dropped = dropped
        self.changed = changed
        self.before: list[MigrateOperation] = []
        self.after: list[MigrateOperation] = []

    def compare(self) -> None:
        for state in reversed(self._only_in(self.found, self.declared)):
            self._drop(state)
        new = self._only_in(self.declared, self.found)
        for state in new:
            self.after.append(self._create(state))
        for state in new:
            if isinstance(state, AggregateState) and self._root(state) not in self.created:
                self.after.append(_with(_refresh_data(state)))
        for state in new:
            self.after += map(_with, _settings(state))
        self._change_settings()

    def grow(self, growth: dict[Key, list[Call]]) -> None:
        """Add columns in place, each after those of its source, and fill them where rows exist.

        The downgrade rebuilds these aggregates and all that read from them, since TimescaleDB can't
        drop a column.
        """
        standing: dict[Key, AggregateState] = {}
        for key, state in self.found.aggregates.items():
            if key not in self.changed and (key in growth or state.source in standing):
                standing[key] = state
        states = list(standing.values())
        back = [
            *(_drop_to_rebuild(state) for state in reversed(states)),
            *map(_creation, states),
            *map(_refresh_data, states),
            *(setting for state in states for setting in _settings(state)),
        ]
        self.after += map(_later, reversed(back))
        for key, additions in growth.items():
            filling = _refresh_data(self.declared.aggregates[key], force=True)
            self.after += map(_with, [*additions, filling])

    def _only_in(self, one: Catalog, other: Catalog) -> list[State]:
        return [
            state
            for key, state in one.relations.items()
            if key not in other.relations or key in self.changed
        ]

    def _root(self, state: AggregateState) -> Key:
        source = state.source
        while source in self.declared.aggregates:
            source = self.declared.aggregates[source].source
        return source

    def _create(self, state: State) -> Call:
        if state.key in self.created:
            return _with(_creation(state))
        return _pair(_creation(state), self._removal(state))

    def _drop(self, state: State) -> None:
        # The downgrade reverses this order.
        self.before += [_later(operation) for operation in reversed(_settings(state))]
        if state.key in self.dropped:
            self.before.append(_later(_creation(state)))
            return
        removal = self._removal(state)
        if isinstance(state, AggregateState):
            self.before.append(_later(_refresh_data(state)))
            if state.key not in self.changed:
                removal.note = f"All that {state.name} holds is lost."
        self.before.append(_pair(removal, _creation(state)))

    def _removal(self, state: State) -> Call:
        if isinstance(state, HypertableState):
            return _on(state, ts.convert_to_plain_table)
        if state.key in self.changed:
            return _drop_to_rebuild(state)
        return _on(state, ts.drop_continuous_aggregate)

    def _change_settings(self) -> None:
        changes: dict[Setting, list[MigrateOperation]] = {setting: [] for setting in SETTINGS}
        wider: list[MigrateOperation] = []
        for key, wanted in self.declared.relations.items():
            found = self.found.relations.get(key)
            if found is None or key in self.changed:
                continue
            _refuse_partitioning_anew(found, wanted)
            for setting in SETTINGS:
                new, old = setting(wanted), setting(found)
                if new and old and new.to_diff_tuple() != old.to_diff_tuple():
                    grows = setting is refresh_policy and _reach(wanted) >= _reach(found)
                    (wider if grows else changes[setting]).append(_pair(new, old))
        # A refresh window shrinks before its source's retention, and grows after that has grown.
        for setting in SETTINGS:
            self.after += changes[setting]
            if setting is retention_policy:
                self.after += wider


def _refuse_partitioning_anew(found: State, wanted: State) -> None:
    if (
        isinstance(found, HypertableState)
        and isinstance(wanted, HypertableState)
        and found.time_column != wanted.time_column
    ):
        raise TimescaleDBError(
            f"The hypertable {found.name} is partitioned by {found.time_column} and can't "
            f"become partitioned by {wanted.time_column}; make a new table and copy the rows."
        )


def _reach(state: State) -> float:
    if not isinstance(state, AggregateState) or state.refresh is None:
        return 0.0
    start = state.refresh.start_offset
    return float("inf") if start is None else start.longest


def _on(state: State, function: Callable[..., None], *arguments: Any, **options: Any) -> Call:
    return call(function, state.name, *arguments, **options, schema=state.schema)


def _creation(state: State) -> Call:
    if isinstance(state, HypertableState):
        interval = str(state.chunk_interval)
        return _on(state, ts.create_hypertable, state.time_column, chunk_interval=interval)
    assert isinstance(state, AggregateState)  # noqa: S101 (there is no third)
    return _on(state, ts.create_continuous_aggregate, state.query, real_time=state.real_time)


def _drop_to_rebuild(state: State) -> Call:
    return _on(state, ts.drop_continuous_aggregate, rebuilt=True)


def _refresh_data(state: State, *, force: bool = False) -> Call:
    return _on(state, ts.refresh_continuous_aggregate, force=force)


def _settings(state: State) -> list[Call]:
    """The operations that give a new relation its settings and policies."""
    given = [
        retention_policy(state) if state.retention else None,
        refresh_policy(state) if _reach(state) else None,
        columnstore(state) if state.columnstore else None,
    ]
    return [operation for operation in given if operation]


# The settings of a relation: each function gives the operation that sets one, or None if none is.
def chunk_interval(state: State) -> Call | None:
    if not isinstance(state, HypertableState):
        return None
    return _on(state, ts.set_chunk_interval, str(state.chunk_interval))


def real_time(state: State) -> Call | None:
    if not isinstance(state, AggregateState):
        return None
    return _on(state, ts.set_real_time, state.real_time)


def refresh_policy(state: State) -> Call | None:
    if not isinstance(state, AggregateState):
        return None
    if state.refresh is None:
        return _on(state, ts.remove_refresh_policy)
    return _on(
        state,
        ts.set_refresh_policy,
        start_offset=_text(state.refresh.start_offset),
        end_offset=_text(state.refresh.end_offset),
        every=str(state.refresh.every),
    )


def retention_policy(state: State) -> Call | None:
    if state.retention is None:
        return _on(state, ts.remove_retention_policy)
    return _on(state, ts.set_retention_policy, drop_after=str(state.retention))


def columnstore(state: State) -> Call | None:
    aggregate = isinstance(state, AggregateState)
    if state.columnstore is None:
        return _on(state, ts.disable_columnstore, aggregate=aggregate)
    return _on(
        state,
        ts.set_columnstore,
        segment_by=list(state.columnstore.segment_by),
        order_by=list(state.columnstore.order_by),
        after=_text(state.columnstore.after),
        aggregate=aggregate,
    )


def _text(interval: Interval | None) -> str | None:
    return None if interval is None else str(interval)


Setting = Callable[[State], Call | None]
SETTINGS: tuple[Setting, ...] = (
    chunk_interval,
    real_time,
    refresh_policy,
    retention_policy,
    columnstore,
)


# What revisions import: not this module, which may be switched off while its revisions stay.
IMPORT = f"from {__package__.rpartition('.')[0]}.revisions import timescaledb"


@renderers.dispatch_for(Call)
def render(context: AutogenContext, operation: Call) -> list[str]:
    """The call that a person would write, with a comment above it where it is dangerous."""
    context.imports.add(IMPORT)
    arguments = [
        _multiline(value) if "\n" in str(value) else repr(value) for value in operation.arguments
    ]
    arguments += [f"{name}={value!r}" for name, value in operation.options.items()]
    text = f"timescaledb.{operation.function}({', '.join(arguments)})"
    return [*([f"# {operation.note}"] if operation.note else []), *text.split("\n")]


@renderers.dispatch_for(Implied)
def render_nothing(_context: AutogenContext, _operation: Implied) -> list[str]:
    return []


def _multiline(query: str) -> str:
    """The unchanged text, in lines that end after a word; only an SQL parser could re-indent it."""
    lines = re.findall(r".{1,76}(?<=\s)|.{1,76}", query, re.DOTALL)
    return "".join(["(\n", *(f"        {line!r}\n" for line in lines), "    )"])


_plugin = Plugin("timescaledb")
_plugin.add_autogenerate_comparator(
    hide_internal_schemas, "schema", "timescaledb_schemas", priority=DispatchPriority.FIRST
)
_plugin.add_autogenerate_comparator(
    compare, "schema", "timescaledb", priority=DispatchPriority.LAST
)
