"""Lets a history with TimescaleDB run where the module `timescaledb` is switched off.

The tables stay plain: they had to become plain before the module could be switched off.
"""

from collections.abc import Callable
from typing import Any

from alembic import context, op
from sqlalchemy import text

from .errors import MigrationError

_INFORMATION = text("SELECT to_regnamespace('timescaledb_information') IS NOT NULL")
_LIVING = text(
    """
    SELECT hypertable_name FROM timescaledb_information.hypertables
    WHERE hypertable_name = ANY(:names)
    UNION
    SELECT view_name FROM timescaledb_information.continuous_aggregates
    WHERE view_name = ANY(:names)
    """
)


class PlainTables:
    """Every operation of TimescaleDB by its name; each does nothing, or raises MigrationError."""

    def __getattr__(self, operation: str) -> Callable[..., None]:
        """The operation.

        It raises `MigrationError` where the database has the operation's hypertable or continuous
        aggregate. It does so, too, where Alembic writes a script of a part of the history, since a
        script can't ask the database.
        """

        def leave_plain(*arguments: Any, **options: Any) -> None:
            names = [value for value in (*arguments, *options.values()) if isinstance(value, str)]
            _refuse_living(operation, names)

        return leave_plain


timescaledb = PlainTables()


def _refuse_living(operation: str, names: list[str]) -> None:
    if op.get_context().as_sql:
        if context.get_starting_revision_argument():
            raise MigrationError(
                f"timescaledb.{operation} is switched off, and a script can't ask the database "
                "for hypertables; write the script with the last commit that has the module."
            )
        return
    connection = op.get_bind()
    if names and connection.scalar(_INFORMATION):
        living = connection.scalars(_LIVING, {"names": names}).first()
        if living is not None:
            raise MigrationError(
                f"This database has {living} in TimescaleDB, which is switched off here: run "
                "`alembic upgrade head` with the last commit that has the module first."
            )
