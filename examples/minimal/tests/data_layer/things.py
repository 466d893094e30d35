"""A model of these tests' own, apart from the tables of the project."""

from decimal import Decimal

from sqlalchemy import MetaData, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from . import layer


class Own(layer.database.Base):
    """Tables that belong to these tests alone."""

    __abstract__ = True
    metadata = MetaData(naming_convention=layer.database.NAMING_CONVENTION)


class Thing(layer.database.BigIntKey, layer.database.Timestamps, layer.database.Versioned, Own):
    """A row with a key of the server's, times and a version."""

    __tablename__ = "layer_test_things"

    name: Mapped[str] = mapped_column(unique=True)
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2), server_default="0")
    run_id: Mapped[str | None]
