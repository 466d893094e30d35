"""What Alembic's `op` lacks: operations that a deployer may repeat without harm.

Serves DL-MIG-08. `op` itself knows `if_not_exists` for create_table, add_column and create_index,
and `if_exists` for their opposites; use those first.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

from alembic import op
from sqlalchemy import TextClause, text

from .errors import MigrationError


class Irreversible(MigrationError):
    """A downgrade was asked of a migration that can't be undone."""


def irreversible(reason: str) -> NoReturn:
    """The body of a downgrade that can't be written.

    Args:
        reason: a sentence that says why, and what to do instead.

    Raises:
        Irreversible: always.
    """
    raise Irreversible(f"This migration can't be undone: {reason}")


def create_index_concurrently(
    name: str, table: str, columns: Sequence[str | TextClause], **options: Any
) -> None:
    """Create an index without locking out writers, unless a valid one of this name exists.

    It runs outside of any transaction, so what the migration did before is committed: give the
    index a migration of its own. An invalid index that a failed attempt left is dropped first.

    Args:
        name: of the index.
        table: of the index, in the default schema.
        columns: names of columns, or expressions as `sqlalchemy.text`.
        options: what `op.create_index` takes, for example `unique` and `postgresql_where`.
    """
    context = op.get_context()
    with context.autocommit_block():
        if not context.as_sql and op.get_bind().scalar(_INVALID, {"name": name}):
            op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            name, table, list(columns), postgresql_concurrently=True, if_not_exists=True, **options
        )


def drop_index_concurrently(name: str, table: str) -> None:
    """Drop an index without locking out readers and writers, if it exists.

    It runs outside of any transaction, so what the migration did before is committed.
    """
    with op.get_context().autocommit_block():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


def validate_constraint(name: str, table: str) -> None:
    """Check the rows that are older than a constraint added with `postgresql_not_valid=True`.

    Readers and writers go on meanwhile. If the constraint is valid already, nothing happens.
    """
    quote = op.get_context().dialect.identifier_preparer.quote
    op.execute(f"ALTER TABLE {quote(table)} VALIDATE CONSTRAINT {quote(name)}")


_INVALID = text(
    "SELECT true FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    " WHERE relname = :name AND relnamespace = current_schema()::regnamespace AND NOT indisvalid"
)
