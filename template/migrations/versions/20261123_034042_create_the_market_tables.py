"""Create the tables of the market desk: accounts and orders, instruments and their prices.

Revision ID: 228bb9390988
Revises: nothing
Create Date: 2026-11-23 03:40:42.757779+00:00
"""

import sqlalchemy as sa
from alembic import op

revision: str = "228bb9390988"
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("cash", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_accounts_currency_code")),
        sa.CheckConstraint("cash >= 0", name=op.f("ck_accounts_cash_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "instruments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("tick_size", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_instruments_currency_code")),
        sa.CheckConstraint("tick_size > 0", name=op.f("ck_instruments_tick_size_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instruments")),
        sa.UniqueConstraint("symbol", name=op.f("uq_instruments_symbol")),
    )
    op.create_table(
        "daily_bars",
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("open", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("high", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("low", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("close", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("volume", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "high >= greatest(open, close)", name=op.f("ck_daily_bars_high_is_highest")
        ),
        sa.CheckConstraint("low <= least(open, close)", name=op.f("ck_daily_bars_low_is_lowest")),
        sa.CheckConstraint("low > 0", name=op.f("ck_daily_bars_low_positive")),
        sa.CheckConstraint("volume >= 0", name=op.f("ck_daily_bars_volume_not_negative")),
        sa.ForeignKeyConstraint(
            ["instrument_id"],
            ["instruments.id"],
            name=op.f("fk_daily_bars_instrument_id_instruments"),
        ),
        sa.PrimaryKeyConstraint("instrument_id", "day", name=op.f("pk_daily_bars")),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("limit_price", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column("filled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "(status = 'filled') = (filled = quantity)", name=op.f("ck_orders_filled_is_complete")
        ),
        sa.CheckConstraint(
            "reserved = CASE WHEN side = 'buy' AND status = 'open'"
            " THEN (quantity - filled) * limit_price ELSE 0 END",
            name=op.f("ck_orders_reserved_covers_what_is_open"),
        ),
        sa.CheckConstraint("side IN ('buy', 'sell')", name=op.f("ck_orders_side")),
        sa.CheckConstraint(
            "status IN ('open', 'filled', 'cancelled')", name=op.f("ck_orders_status")
        ),
        sa.CheckConstraint(
            "filled BETWEEN 0 AND quantity", name=op.f("ck_orders_filled_within_quantity")
        ),
        sa.CheckConstraint("limit_price > 0", name=op.f("ck_orders_limit_price_positive")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_orders_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_orders_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["instruments.id"], name=op.f("fk_orders_instrument_id_instruments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
    )
    op.create_index("ix_orders_account_id_id", "orders", ["account_id", "id"])
    op.create_index("ix_orders_instrument_id", "orders", ["instrument_id"])
    op.create_table(
        "trades",
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("price", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("price > 0", name=op.f("ck_trades_price_positive")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_trades_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["instruments.id"], name=op.f("fk_trades_instrument_id_instruments")
        ),
        sa.PrimaryKeyConstraint("instrument_id", "executed_at", "sequence", name=op.f("pk_trades")),
    )
    op.create_index("ix_trades_executed_at", "trades", ["executed_at"])


def downgrade() -> None:
    op.drop_table("trades")
    op.drop_table("orders")
    op.drop_table("daily_bars")
    op.drop_table("instruments")
    op.drop_table("accounts")
