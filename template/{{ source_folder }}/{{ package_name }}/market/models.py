"""The tables of the desk: accounts and orders, instruments, and what the market did."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, Text
from sqlalchemy.orm import Mapped, mapped_column

from ..data_layer.database import Base, BigIntKey, Timestamps, UuidKey, Versioned

# Limits are money and quantities are whole, so quantity x limit is exact. Prices that the market
# reports have finer steps.
Money = Annotated[Decimal, mapped_column(Numeric(18, 2))]
Price = Annotated[Decimal, mapped_column(Numeric(12, 4))]
Quantity = Annotated[int, mapped_column(BigInteger)]

# Text with a check constraint, not an enum type: a check is replaced in one migration, without
# a rewrite; a value can never be taken out of an enum type again.
Side = Literal["buy", "sell"]
Status = Literal["open", "filled", "cancelled"]


class Account(UuidKey, Versioned, Timestamps, Base):
    """Money that one owner may trade with, in one currency.

    `cash` is free to spend; what open orders hold back stands in `Order.reserved`.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("cash >= 0", name="cash_not_negative"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_code"),
    )

    name: Mapped[str]
    currency: Mapped[str]
    cash: Mapped[Money]


class Instrument(BigIntKey, Base):
    """Something that is traded, in steps of `tick_size` of its currency."""

    __tablename__ = "instruments"
    __table_args__ = (
        CheckConstraint("tick_size > 0", name="tick_size_positive"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_code"),
    )

    symbol: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    currency: Mapped[str]
    tick_size: Mapped[Money]


class Order(BigIntKey, Versioned, Timestamps, Base):
    """A limit order: whole units at a price no worse than `limit_price`.

    While a buy order is open, `reserved` is what it holds back of the account's cash:
    `(quantity - filled) x limit_price`. Everywhere else it is 0.
    """

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint("side IN ('buy', 'sell')", name="side"),
        CheckConstraint("status IN ('open', 'filled', 'cancelled')", name="status"),
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint("limit_price > 0", name="limit_price_positive"),
        CheckConstraint("filled BETWEEN 0 AND quantity", name="filled_within_quantity"),
        CheckConstraint("(status = 'filled') = (filled = quantity)", name="filled_is_complete"),
        CheckConstraint(
            "reserved = CASE WHEN side = 'buy' AND status = 'open'"
            " THEN (quantity - filled) * limit_price ELSE 0 END",
            name="reserved_covers_what_is_open",
        ),
        # The orders of an account, newest first, and its positions.
        Index("ix_orders_account_id_id", "account_id", "id"),
        Index("ix_orders_instrument_id", "instrument_id"),
    )

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    instrument_id: Mapped[int] = mapped_column(ForeignKey("instruments.id"))
    side: Mapped[Side] = mapped_column(Text)
    quantity: Mapped[Quantity]
    limit_price: Mapped[Money]
    filled: Mapped[Quantity] = mapped_column(server_default="0")
    reserved: Mapped[Money]
    status: Mapped[Status] = mapped_column(Text, server_default="open")


class Trade(Base):
    """One line of the public tape. The table mostly grows at its end, and is read by time ranges.

    The natural key holds the time, as every unique key of a table partitioned by time must;
    `sequence` tells apart the trades of one instant.
    """

    __tablename__ = "trades"
    __table_args__ = (
        CheckConstraint("price > 0", name="price_positive"),
        CheckConstraint("quantity > 0", name="quantity_positive"),
        # The primary key serves one instrument's ranges; this one, all instruments' at once.
        Index("ix_trades_executed_at", "executed_at"),
    )

    instrument_id: Mapped[int] = mapped_column(ForeignKey("instruments.id"), primary_key=True)
    executed_at: Mapped[datetime] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Price]
    quantity: Mapped[Quantity]


class DailyBar(Base):
    """One trading day of one instrument: first, highest, lowest and last price, and the volume."""

    __tablename__ = "daily_bars"
    __table_args__ = (
        CheckConstraint("low > 0", name="low_positive"),
        CheckConstraint("low <= least(open, close)", name="low_is_lowest"),
        CheckConstraint("high >= greatest(open, close)", name="high_is_highest"),
        CheckConstraint("volume >= 0", name="volume_not_negative"),
    )

    instrument_id: Mapped[int] = mapped_column(ForeignKey("instruments.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    open: Mapped[Price]
    high: Mapped[Price]
    low: Mapped[Price]
    close: Mapped[Price]
    volume: Mapped[Quantity]
