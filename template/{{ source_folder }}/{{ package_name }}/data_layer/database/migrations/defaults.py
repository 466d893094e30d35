"""How autogenerate compares the server's defaults: by value, whatever their text."""

from typing import Any

from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy import Column, Text, cast, literal, literal_column, select
from sqlalchemy.exc import DBAPIError


class ComparingByValue(PostgresqlImpl):
    """Alembic's PostgreSQL, which takes this class for its own by the name of the dialect.

    Alembic's comparison puts what a model says between quotes as it is, and asks for an equality
    that json lacks: a quote or a JSON column ended the run.
    """

    __dialect__ = "postgresql"

    def compare_server_default(
        self,
        inspector_column: Column[Any],
        metadata_column: Column[Any],
        rendered_metadata_default: str | None,
        rendered_inspector_default: str | None,
    ) -> bool:
        """Whether the default in the database is another than that of the model."""
        found, declared = rendered_inspector_default, metadata_column.server_default
        if found is None or declared is None or found.startswith("nextval("):
            return bool(
                super().compare_server_default(  # type: ignore[no-untyped-call]
                    inspector_column, metadata_column, rendered_metadata_default, found
                )
            )
        if found == rendered_metadata_default or self.connection is None:
            return found != rendered_metadata_default
        value: Any = getattr(declared, "arg")  # noqa: B009 (of a DefaultClause, as all here are)
        if isinstance(value, str):
            value = cast(literal(value), Text)
        kind = inspector_column.type
        old, new = cast(cast(literal_column(found), kind), Text), cast(cast(value, kind), Text)
        try:
            with self.connection.begin_nested():
                return bool(self.connection.scalar(select(old.is_distinct_from(new))))
        except DBAPIError:
            return True  # such as a value that the type in the database does not have yet
