"""Models of these tests, in a schema and a MetaData of their own."""

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Computed,
    Double,
    Enum,
    Float,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Text,
)
from sqlalchemy.dialects.postgresql import DOMAIN, INET, JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from my_project.data_layer.database import (
    NAMING_CONVENTION,
    Base,
    BigIntKey,
    Timestamps,
    UuidKey,
    Versioned,
)

SCHEMA = "layer_test"


class Model(Base):
    __abstract__ = True
    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING_CONVENTION)


class Account(BigIntKey, Timestamps, Versioned, Model):
    __tablename__ = "account"

    owner: Mapped[str] = mapped_column(unique=True)
    balance: Mapped[Decimal] = mapped_column(Numeric(18, 2), server_default="0")


class Note(UuidKey, Timestamps, Model):
    __tablename__ = "note"

    body: Mapped[str]


class Mood(enum.Enum):
    calm = "c"
    angry = "a"


class Reading(Model):
    """One column of each type that a load meets."""

    __tablename__ = "reading"
    __table_args__ = (CheckConstraint("small <> 13", name="no_bad_luck"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    small: Mapped[int | None] = mapped_column(SmallInteger)
    single: Mapped[float | None] = mapped_column(Float(24))
    double: Mapped[float | None] = mapped_column(Double)
    price: Mapped[Decimal | None] = mapped_column(Numeric(38, 10))
    flag: Mapped[bool | None]
    day: Mapped[date | None]
    moment: Mapped[datetime | None]
    clock: Mapped[time | None]
    span: Mapped[timedelta | None]
    body: Mapped[str | None]
    raw: Mapped[bytes | None]
    uid: Mapped[UUID | None]
    document: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    plain: Mapped[Any | None] = mapped_column(JSON)
    address: Mapped[IPv4Address | IPv6Address | None] = mapped_column(INET)
    mood: Mapped[Mood | None] = mapped_column(Enum(Mood, name="mood"))
    size: Mapped[int | None] = mapped_column(
        DOMAIN("size", Integer, schema=SCHEMA, check="VALUE > 0")
    )
    counts: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    words: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    doubled: Mapped[int] = mapped_column(Computed("id * 2", persisted=True))


class Moods(Model):
    """A column without a binary form in the driver: an array of an enum."""

    __tablename__ = "moods"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    moods: Mapped[list[Mood]] = mapped_column(ARRAY(Enum(Mood, name="mood")))


class Bar(Model):
    """A composite key, and a table in partitions."""

    __tablename__ = "bar"
    __table_args__ = ({"postgresql_partition_by": "LIST (symbol)"},)

    symbol: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    close: Mapped[Decimal] = mapped_column(Numeric(18, 8))
    source: Mapped[Any | None] = mapped_column(JSON)


class Doctor(BigIntKey, Model):
    """On call or not; one of them must always be."""

    __tablename__ = "doctor"

    name: Mapped[str]
    on_call: Mapped[bool]
