"""The table of what DuckDB computes."""

from datetime import date
from decimal import Decimal

from sqlalchemy import Double, ForeignKey, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from ...data_layer.database import Base
from ..models import Price


class Indicator(Base):
    """What DuckDB computed for one instrument on one day; None until the window is full.

    `volatility` is that of a year, from the logarithms of daily returns.
    """

    __tablename__ = "indicators"

    instrument_id: Mapped[int] = mapped_column(ForeignKey("instruments.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    close: Mapped[Price]
    short_average: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    long_average: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    volatility: Mapped[float | None] = mapped_column(Double)
    run_id: Mapped[str] = mapped_column(index=True)
