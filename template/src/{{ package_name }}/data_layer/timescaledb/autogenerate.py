"""What `alembic revision --autogenerate` finds different, and how it writes it down."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import CreateTableOp, DropTableOp, MigrateOperation, UpgradeOps
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, MetaData, Table

from ..database.migrations.plugins import autogenerate_plugin
from . import catalog
from . import operations as ts
from .catalog import Catalog, Key
from .declarations import aggregates, hypertables
from .errors import TimescaleDBError
from .interval import Interval
from .state import AggregateState, HypertableState

State = HypertableState | AggregateState


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
    """Add the operations that bring hypertables and aggregates from what is to what is declared."""
    connection = context.connection
    metadata = context.metadata
    if connection is None or not isinstance(metadata, MetaData):
        return PriorityDispatchResult.CONTINUE
    declared = declared_catalog(metadata)
    dropped = _tables(upgrade, DropTableOp, connection)
    kept = {(table.schema, table.name) for table in metadata.tables.values()}
    everything = catalog.read(connection)
    found = Catalog(
        # What is neither kept nor dropped belongs to somebody else.
        {key: state for key, state in everything.hypertables.items() if key in kept | dropped},
        {
            key: state
            for key, state in everything.aggregates.items()
            if _looked_at(context, schemas, key)
        },
    )
    changed = redefined(declared, found, connection)
    steps = Steps(
        catalog.attainable(connection, declared, found, redefined=changed),
        found,
        created=_tables(upgrade, CreateTableOp, connection),
        dropped=dropped,
        changed=changed,
    )
    if declared.hypertables and not catalog.has_extension(connection):
        steps.before.append(_pair(ts.CreateExtension(), ts.DropExtension()))
    steps.compare()
    upgrade.ops[:] = [*steps.before, *upgrade.ops, *steps.after]
    return PriorityDispatchResult.CONTINUE


def _looked_at(context: AutogenContext, schemas: set[str | None], key: Key) -> bool:
    """Whether a view is among what Alembic is told to compare, as it asks of tables."""
    schema, name = key
    return (
        schema in schemas
        and context.run_name_filters(name, "table", {"schema_name": schema})
        and context.run_object_filters(
            Table(name, MetaData(), schema=schema), name, "table", True, None
        )
    )


def declared_catalog(metadata: MetaData) -> Catalog:
    """What the models declare, in the shape of what a database has."""
    declared = Catalog()
    for hypertable in hypertables(metadata):
        state = hypertable.state()
        declared.hypertables[state.schema, state.name] = state
    for aggregate in aggregates(metadata):
        declared.aggregates[aggregate.schema, aggregate.name] = aggregate.state()
    return declared


def redefined(declared: Catalog, found: Catalog, connection: Connection) -> set[Key]:
    """The aggregates whose SELECT is another by now, and all that stand on them."""
    changed = set()
    for key, state in found.aggregates.items():
        wanted = declared.aggregates.get(key)
        if wanted is not None and (
            state.source in changed
            or wanted.source != state.source
            or catalog.canonical(connection, wanted.query) != state.query
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


def _pair(operation: ts.TimescaleOperation, inverse: MigrateOperation) -> MigrateOperation:
    operation.inverse = inverse
    if isinstance(inverse, (ts.TimescaleOperation, ts.Implied)):
        inverse.inverse = operation
    return operation


def _done_by_another(inverse: ts.TimescaleOperation) -> MigrateOperation:
    """Nothing now; on the way back, `inverse`."""
    implied = ts.Implied(inverse)
    inverse.inverse = implied
    return implied


def _with(operation: ts.TimescaleOperation) -> MigrateOperation:
    """`operation` now; on the way back nothing, since what it belongs to goes away."""
    operation.inverse = ts.Implied(operation)
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
        gone_aggregates = [
            state
            for key, state in self.found.aggregates.items()
            if key not in self.declared.aggregates or key in self.changed
        ]
        for state in reversed(gone_aggregates):
            self._drop_aggregate(state)
        for key, hypertable in self.found.hypertables.items():
            if key in self.dropped:
                self._forget(hypertable)
                self.before.append(_done_by_another(_create(hypertable)))
            elif key not in self.declared.hypertables:
                self._forget(hypertable)
                plain = ts.ConvertToPlainTable(hypertable.name, schema=hypertable.schema)
                self.before.append(_pair(plain, _create(hypertable)))

        new_hypertables = [
            state
            for key, state in self.declared.hypertables.items()
            if key not in self.found.hypertables
        ]
        for hypertable in new_hypertables:
            plain = ts.ConvertToPlainTable(hypertable.name, schema=hypertable.schema)
            created = (hypertable.schema, hypertable.name) in self.created
            create = _create(hypertable)
            self.after.append(_with(create) if created else _pair(create, plain))
        new_aggregates = [
            state
            for key, state in self.declared.aggregates.items()
            if key not in self.found.aggregates or key in self.changed
        ]
        for aggregate in new_aggregates:
            rebuilt = (aggregate.schema, aggregate.name) in self.changed
            drop = ts.DropContinuousAggregate(
                aggregate.name, rebuilt=rebuilt, schema=aggregate.schema
            )
            self.after.append(_pair(_create_aggregate(aggregate), drop))
        for aggregate in new_aggregates:
            if self._root(aggregate) not in self.created:
                self.after.append(_with(_refresh_data(aggregate)))
        new: list[State] = [*new_hypertables, *new_aggregates]
        for relation in new:
            self.after += [_with(operation) for operation in _settings(relation)]

        self._change_settings()

    def _root(self, state: AggregateState) -> Key:
        source = state.source
        while source in self.declared.aggregates:
            source = self.declared.aggregates[source].source
        return source

    def _drop_aggregate(self, state: AggregateState) -> None:
        self._forget(state)
        self.before.append(_done_by_another(_refresh_data(state)))
        rebuilt = (state.schema, state.name) in self.changed
        drop = ts.DropContinuousAggregate(state.name, rebuilt=rebuilt, schema=state.schema)
        if not rebuilt:
            drop.note = f"All that {state.name} holds is lost."
        self.before.append(_pair(drop, _create_aggregate(state)))

    def _forget(self, state: State) -> None:
        """Note what dropping the relation takes along, in the order that the way back reverses."""
        self.before += [_done_by_another(operation) for operation in reversed(_settings(state))]

    def _change_settings(self) -> None:
        both: list[tuple[State, State]] = [
            (found, self.declared.hypertables[key])
            for key, found in self.found.hypertables.items()
            if key in self.declared.hypertables
        ]
        both += [
            (found, self.declared.aggregates[key])
            for key, found in self.found.aggregates.items()
            if key in self.declared.aggregates and key not in self.changed
        ]
        retentions: list[MigrateOperation] = []
        narrower: list[MigrateOperation] = []
        wider: list[MigrateOperation] = []
        others: list[MigrateOperation] = []
        for found, wanted in both:
            others += _other_changes(found, wanted)
            if found.retention != wanted.retention:
                retentions.append(_pair(_retention(wanted), _retention(found)))
            if (
                isinstance(found, AggregateState)
                and isinstance(wanted, AggregateState)
                and found.refresh != wanted.refresh
            ):
                change = _pair(_refresh_policy(wanted), _refresh_policy(found))
                (narrower if _reach(wanted) < _reach(found) else wider).append(change)
        # A window shrinks before its source's retention does, and grows after it has grown.
        self.after += [*others, *narrower, *retentions, *wider]
        self.after += self._columnstore_policies(both)

    def _columnstore_policies(
        self, both: Sequence[tuple[State, State]]
    ) -> Iterator[MigrateOperation]:
        for found, wanted in both:
            if (
                found.columnstore_after != wanted.columnstore_after
                # Otherwise switching the columnstore off takes its policy along.
                and wanted.columnstore is not None
                and found.columnstore is not None
            ):
                yield _pair(_columnstore_policy(wanted), _columnstore_policy(found))


def _create(state: HypertableState) -> ts.CreateHypertable:
    return ts.CreateHypertable(
        state.name,
        state.time_column,
        chunk_interval=str(state.chunk_interval),
        schema=state.schema,
    )


def _create_aggregate(state: AggregateState) -> ts.CreateContinuousAggregate:
    return ts.CreateContinuousAggregate(
        state.name, state.query, real_time=state.real_time, schema=state.schema
    )


def _refresh_data(state: AggregateState) -> ts.RefreshContinuousAggregate:
    return ts.RefreshContinuousAggregate(state.name, schema=state.schema)


def _settings(state: State) -> list[ts.TimescaleOperation]:
    """The operations that give a new relation its settings and policies."""
    given: list[ts.TimescaleOperation] = []
    if state.columnstore is not None:
        given.append(_columnstore(state))
    if state.retention is not None:
        given.append(_retention(state))
    if isinstance(state, AggregateState) and state.refresh is not None:
        given.append(_refresh_policy(state))
    if state.columnstore is not None and state.columnstore_after is not None:
        given.append(_columnstore_policy(state))
    return given


def _columnstore(state: State) -> ts.TimescaleOperation:
    if state.columnstore is None:
        return ts.DisableColumnstore(
            state.name, aggregate=isinstance(state, AggregateState), schema=state.schema
        )
    return ts.SetColumnstore(
        state.name,
        segment_by=list(state.columnstore.segment_by),
        order_by=list(state.columnstore.order_by),
        aggregate=isinstance(state, AggregateState),
        schema=state.schema,
    )


def _columnstore_policy(state: State) -> ts.TimescaleOperation:
    if state.columnstore_after is None:
        return ts.RemoveColumnstorePolicy(state.name, schema=state.schema)
    return ts.SetColumnstorePolicy(
        state.name, after=str(state.columnstore_after), schema=state.schema
    )


def _retention(state: State) -> ts.TimescaleOperation:
    if state.retention is None:
        return ts.RemoveRetentionPolicy(state.name, schema=state.schema)
    return ts.SetRetentionPolicy(state.name, drop_after=str(state.retention), schema=state.schema)


def _refresh_policy(state: AggregateState) -> ts.TimescaleOperation:
    if state.refresh is None:
        return ts.RemoveRefreshPolicy(state.name, schema=state.schema)
    return ts.SetRefreshPolicy(
        state.name,
        start_offset=_text(state.refresh.start_offset),
        end_offset=_text(state.refresh.end_offset),
        every=str(state.refresh.every),
        schema=state.schema,
    )


def _text(interval: Interval | None) -> str | None:
    return None if interval is None else str(interval)


def _reach(state: State) -> float:
    if not isinstance(state, AggregateState) or state.refresh is None:
        return 0.0
    start = state.refresh.start_offset
    return float("inf") if start is None else start.longest


def _other_changes(found: State, wanted: State) -> Iterator[MigrateOperation]:
    if isinstance(found, HypertableState) and isinstance(wanted, HypertableState):
        if found.time_column != wanted.time_column:
            raise TimescaleDBError(
                f"The hypertable {found.name} is partitioned by {found.time_column} and can't "
                f"become partitioned by {wanted.time_column}; make a new table and copy the rows."
            )
        if found.chunk_interval.fixed != wanted.chunk_interval.fixed:
            yield _pair(_chunk_interval(wanted), _chunk_interval(found))
    elif (
        isinstance(found, AggregateState)
        and isinstance(wanted, AggregateState)
        and found.real_time != wanted.real_time
    ):
        yield _pair(_real_time(wanted), _real_time(found))
    if found.columnstore != wanted.columnstore:
        if wanted.columnstore is None and found.columnstore_after is not None:
            # Above the switch, so that the way back switches on first.
            yield _done_by_another(_columnstore_policy(found))
        yield _pair(_columnstore(wanted), _columnstore(found))
        if found.columnstore is None and wanted.columnstore_after is not None:
            yield _with(_columnstore_policy(wanted))


def _chunk_interval(state: HypertableState) -> ts.TimescaleOperation:
    return ts.SetChunkInterval(state.name, str(state.chunk_interval), schema=state.schema)


def _real_time(state: AggregateState) -> ts.TimescaleOperation:
    return ts.SetRealTime(state.name, state.real_time, schema=state.schema)


# ---------------------------------------------------------------------------------------
# Rendering
# ---------------------------------------------------------------------------------------
# Not this module, which may be switched off while its revisions stay.
IMPORT = f"from {__package__.rpartition('.')[0]}.revisions import timescaledb"


@renderers.dispatch_for(ts.TimescaleOperation)
def render(context: AutogenContext, operation: ts.TimescaleOperation) -> list[str]:
    """The call that a person would write, with a comment above it where it is dangerous."""
    context.imports.add(IMPORT)
    arguments = []
    for item in fields(operation):
        if not item.init:
            continue
        value = getattr(operation, item.name)
        if item.default is not MISSING and value == item.default:
            continue
        shown = _multiline(value) if item.name == "query" else repr(value)
        arguments.append(f"{item.name}={shown}" if item.kw_only else shown)
    call = f"timescaledb.{operation.function}({', '.join(arguments)})"
    return [*([f"# {operation.note}"] if operation.note else []), *call.split("\n")]


@renderers.dispatch_for(ts.Implied)
def render_nothing(_context: AutogenContext, _operation: ts.Implied) -> list[str]:
    """Nothing."""
    return []


def _multiline(query: str) -> str:
    """The very text, in lines that end where a word does; only a reader of SQL may re-indent it."""
    lines = re.findall(r".{1,76}(?<=\s)|.{1,76}", query, re.DOTALL)
    return "".join(["(\n", *(f"        {line!r}\n" for line in lines), "    )"])


_plugin = autogenerate_plugin("timescaledb")
_plugin.add_autogenerate_comparator(
    hide_internal_schemas, "schema", "timescaledb_schemas", priority=DispatchPriority.FIRST
)
_plugin.add_autogenerate_comparator(
    compare, "schema", "timescaledb", priority=DispatchPriority.LAST
)
