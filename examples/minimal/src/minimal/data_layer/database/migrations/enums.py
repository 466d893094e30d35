"""Enum types in autogenerate: made before the first column that has one, dropped after the last.

Without this module, Alembic makes the enum type with every new table that uses it, makes none for
a new column, and never drops one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import DropTableOp, MigrateOperation, UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import ARRAY, Connection, Enum, Table, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_TABLES = text(
    """
    SELECT DISTINCT coalesce(nullif(nspname, current_schema()), '') AS schema, relname
    FROM pg_type AS enum
    JOIN pg_attribute ON atttypid IN (enum.oid, enum.typarray) AND NOT attisdropped
    JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'p')
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE enum.typname = :name
      AND typnamespace = coalesce(:schema, current_schema())::regnamespace
    """
)


@dataclass(frozen=True)
class EnumOp(MigrateOperation):
    """CREATE TYPE … AS ENUM, or the DROP TYPE that takes it back."""

    enum: postgresql.ENUM
    create: bool

    def reverse(self) -> "EnumOp":
        """The operation that undoes this one."""
        return EnumOp(self.enum, not self.create)

    def to_diff_tuple(self) -> tuple[str, str]:
        """What `alembic check` says of this operation."""
        return ("add_type" if self.create else "remove_type", str(self.enum.name))


@renderers.dispatch_for(EnumOp)
def _render(context: AutogenContext, operation: EnumOp) -> str:
    context.imports.add("from sqlalchemy.dialects import postgresql")
    statement = "CreateEnumType" if operation.create else "DropEnumType"
    return f"op.execute(postgresql.{statement}({rendered(operation.enum)}))"


def rendered(enum: postgresql.ENUM) -> str:
    """The type as a revision names it in a column; the column then makes no type by itself."""
    return "postgresql." + repr(
        postgresql.ENUM(*enum.enums, name=enum.name, schema=enum.schema, create_type=False)
    )


def enum_of(kind: TypeEngine[Any]) -> postgresql.ENUM | None:
    """The server's type for `kind`, if `kind` is an enum."""
    if isinstance(kind, Enum):
        found = kind.dialect_impl(_DIALECT)
        if isinstance(found, postgresql.ENUM) and found.name is not None:
            return found
    return None


def compare(
    context: AutogenContext, upgrade: UpgradeOps, schemas: set[str | None]
) -> PriorityDispatchResult:
    """Add the enum types that the models begin to use, and drop those that they use no more.

    An enum type that no table of the models has ever used, or that another table uses too, stays.
    """
    connection, models = context.connection, context.sorted_tables
    if connection is None:
        return PriorityDispatchResult.CONTINUE
    declared = {(enum.schema, enum.name): enum for enum in _declared(models)}
    found = {(enum.schema, enum.name): enum for enum in _found(connection, schemas)}
    tables = {(table.schema or "", table.name) for table in models}
    dropped = {
        (operation.schema or "", operation.table_name)
        for operation in upgrade.ops
        if isinstance(operation, DropTableOp)
    }
    before = [EnumOp(enum, create=True) for key, enum in declared.items() if key not in found]
    after = [
        EnumOp(enum, create=False)
        for key, enum in found.items()
        if key not in declared and _is_left(connection, enum, tables | dropped)
    ]
    upgrade.ops[:] = [*before, *upgrade.ops, *after]
    return PriorityDispatchResult.CONTINUE


def _declared(models: Iterable[Table]) -> Iterator[postgresql.ENUM]:
    for table in models:
        for column in table.columns:
            kind = column.type
            enum = enum_of(kind.item_type if isinstance(kind, ARRAY) else kind)
            if enum is not None and enum.create_type:
                yield enum


def _found(connection: Connection, schemas: set[str | None]) -> Iterator[postgresql.ENUM]:
    inspector = inspect(connection)
    for schema in schemas:
        for enum in inspector.get_enums(schema):  # type: ignore[attr-defined]
            yield postgresql.ENUM(*enum["labels"], name=enum["name"], schema=schema)


def _is_left(connection: Connection, enum: postgresql.ENUM, tables: set[tuple[str, str]]) -> bool:
    users = {
        tuple(row)
        for row in connection.execute(_TABLES, {"name": enum.name, "schema": enum.schema})
    }
    return bool(users) and users <= tables


_plugin = Plugin("enums")
_plugin.add_autogenerate_comparator(compare, "schema", "enums", priority=DispatchPriority.LAST)
