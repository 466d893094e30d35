"""What autogenerate does differently from Alembic: server defaults, and the names of enum types."""

from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy import Column, Text, cast, literal, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from .enums import enum_of, rendered


class Postgresql(PostgresqlImpl):
    """Takes the place of Alembic's own class, since both have the same `__dialect__`."""

    __dialect__ = "postgresql"

    def compare_server_default(
        self,
        inspector_column: Column[Any],
        metadata_column: Column[Any],
        rendered_metadata_default: str | None,
        rendered_inspector_default: str | None,
    ) -> bool:
        """Whether the default in the database has another value than that of the model.

        Alembic's comparison puts the model's default between quotes without escaping it, and uses
        an equality that json lacks. So a quote in a default, or a JSON column, ended the run.
        """
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

    def render_type(
        self, type_: TypeEngine[Any], autogen_context: AutogenContext
    ) -> str | Literal[False]:
        """How a revision names a type; it names an enum as a type that exists already."""
        enum = enum_of(type_)
        if enum is None:
            return super().render_type(type_, autogen_context)
        autogen_context.imports.add("from sqlalchemy.dialects import postgresql")
        return rendered(enum)
