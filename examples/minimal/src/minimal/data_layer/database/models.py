"""The typed base of all models, and the columns that most of them share."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    Identity,
    Integer,
    MetaData,
    Numeric,
    Text,
    column,
    func,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

# Every constraint has a name that follows from its table and columns, so that a migration can
# drop what an earlier one made.
NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


class _DecimalWithoutPrecision(Numeric[Decimal]):
    def __init__(self) -> None:
        raise ArgumentError(
            "A Decimal column states its precision and scale, for example "
            "mapped_column(Numeric(18, 8)): analytics turn an unbounded numeric into a float."
        )


class Base(DeclarativeBase):
    """Base of all models; serves DL-ORM-02.

    `datetime` is timestamptz, `str` is text, `dict[str, Any]` is jsonb, and a `Decimal` must state
    its precision. For tables apart from the application's, as in a test, write an abstract
    subclass with `metadata = MetaData(naming_convention=NAMING_CONVENTION)`.
    """

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy declares it as an instance attribute)
        datetime: DateTime(timezone=True),
        str: Text(),
        dict[str, Any]: JSONB(),
        Decimal: _DecimalWithoutPrecision,
    }
    # An async session can't load on access what an UPDATE computed on the server, so every
    # INSERT and UPDATE returns these values.
    __mapper_args__: dict[str, Any] = {"eager_defaults": True}  # noqa: RUF012


class UuidKey:
    """`id`: a random UUID that the server makes."""

    id: Mapped[UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()"), sort_order=-100
    )


class BigIntKey:
    """`id`: a bigint that the server counts up; the client can't give it."""

    id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, sort_order=-100
    )


class Timestamps:
    """`created_at` and `updated_at`: the server's time at the start of the transaction."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=100)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now(), sort_order=100
    )


class Versioned:
    """`version`: counts the updates of a row, for optimistic locking (DL-TX-04).

    Every ORM update and delete names the version that was read, and fails when the row has another
    version by then; see `expecting`. A model with `__mapper_args__` of its own must repeat
    `"version_id_col": version` in it.
    """

    __tablename__: Any

    @declared_attr
    def version(cls) -> Mapped[int]:  # noqa: N805 (a directive is given the class)
        # The ORM counts by itself; `onupdate` is for statements: `update(Account)` and upserts.
        counted = table(cls.__tablename__, column("version", Integer)).c.version + 1
        return mapped_column(server_default=text("1"), onupdate=counted, sort_order=101)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 (a directive is given the class)
        return {"version_id_col": cls.version, "eager_defaults": True}
