"""Operations that may be repeated, and the filler that the migration tests rely on."""

from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tests.data_layer.migrations.filler import fill

from .conftest import Scratch


@pytest.mark.standard("DL-MIG-08")
async def test_an_index_is_made_and_dropped_without_locking_writers_out(scratch: Scratch) -> None:
    scratch.migration('op.execute("CREATE TABLE t (i int, s text)")')
    scratch.migration(
        """
        create_index_concurrently(
            "ix_t_s", "t", [sa.text("lower(s)")], unique=True, postgresql_where=sa.text("i > 0")
        )
        """,
        'drop_index_concurrently("ix_t_s", "t")',
    )
    await scratch.upgrade("m1")
    scratch.query("CREATE UNIQUE INDEX ix_t_s ON t (lower(s)) WHERE i > 0")
    await scratch.upgrade()
    [(definition,)] = scratch.query("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_t_s'")
    assert definition.endswith("USING btree (lower(s)) WHERE (i > 0)")
    await scratch.downgrade("m1")
    assert scratch.query("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_t_s'") == []
    scratch.query("UPDATE alembic_version SET version_num = 'm2'")
    await scratch.downgrade("m1")


@pytest.mark.standard("DL-MIG-08")
async def test_the_invalid_index_of_a_failed_attempt_is_replaced(scratch: Scratch) -> None:
    scratch.migration('op.execute("CREATE TABLE t AS SELECT 1 AS i FROM generate_series(1, 2)")')
    scratch.migration('create_index_concurrently("ix_t_i", "t", ["i"], unique=True)')
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_t_i'::regclass"
    with pytest.raises(IntegrityError):
        await scratch.upgrade()
    assert scratch.query(valid) == [(False,)]
    scratch.query("DELETE FROM t WHERE ctid = '(0,1)'")
    await scratch.upgrade()
    assert scratch.query(valid) == [(True,)]


async def test_a_constraint_is_validated_in_a_step_of_its_own(scratch: Scratch) -> None:
    scratch.migration("op.execute('CREATE TABLE \"T\" AS SELECT 1 AS i')")
    scratch.migration(
        'op.create_check_constraint("c", "T", "i > 1", postgresql_not_valid=True)',
    )
    scratch.migration('validate_constraint("c", "T")')
    with pytest.raises(IntegrityError, match="is violated by some row"):
        await scratch.upgrade()
    scratch.query('UPDATE "T" SET i = 2')
    await scratch.upgrade()
    assert scratch.query("SELECT convalidated FROM pg_constraint WHERE conname = 'c'") == [(True,)]


TABLES = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE parents (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code varchar(3) UNIQUE);
CREATE TABLE children (
    parent_id bigint REFERENCES parents, number int, PRIMARY KEY (parent_id, number),
    before_id bigint, before_number int,
    FOREIGN KEY (before_id, before_number) REFERENCES children,
    doubled int GENERATED ALWAYS AS (number * 2) STORED,
    mood mood NOT NULL, price numeric(6, 2) NOT NULL, ratio double precision NOT NULL,
    at timestamptz NOT NULL, local timestamp NOT NULL, day date NOT NULL UNIQUE, hour time NOT NULL,
    span interval NOT NULL, key uuid NOT NULL UNIQUE, facts jsonb NOT NULL, picture bytea NOT NULL,
    tags text[] NOT NULL, active boolean NOT NULL, address inet NOT NULL, place point,
    made timestamptz NOT NULL DEFAULT now()
);
"""


def test_the_filler_makes_rows_for_any_table(empty_database_url: sa.URL) -> None:
    engine = sa.create_engine(empty_database_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(TABLES))
        fill(connection, {"children": [{"price": Decimal("9.99"), "gone": 1}]})
        fill(connection, {})
        rows = connection.execute(sa.text("SELECT price, mood FROM children ORDER BY number"))
        assert [tuple(row) for row in rows][2:4] == [
            (Decimal("9.99"), "good"),
            (Decimal("4.00"), "bad"),
        ]
        assert connection.scalar(sa.text("SELECT count(*) FROM parents")) == 6


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("CREATE TABLE t (i int CHECK (i > 100))", 'under "t" into migrations/sample_rows.py'),
        ("CREATE TABLE t (p point NOT NULL)", 'column "p" under "t"'),
    ],
)
def test_the_filler_says_what_it_can_not_guess(
    empty_database_url: sa.URL, table: str, sentence: str
) -> None:
    engine = sa.create_engine(empty_database_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(table))
        with pytest.raises(pytest.fail.Exception, match=sentence):
            fill(connection, {})
