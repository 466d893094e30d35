"""Data migrations: a few rows at a time, and every row in the end."""

import asyncio

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from my_project.data_layer.database.migrations import MigrationError

from .conftest import Scratch

FILL = "CREATE TABLE accounts (id {key} PRIMARY KEY, email text NOT NULL, email_key text)"
ROWS = "INSERT INTO accounts SELECT {key}, 'User' || i FROM generate_series(1, 2500) AS i"
# The table remembers which transaction changed a row, and so how many there were.
TRANSACTIONS = (
    "SELECT count(DISTINCT xmin::text), count(*) FROM accounts WHERE email_key = lower(email)"
)
BACKFILL = """
touched = in_batches(
    "UPDATE accounts SET email_key = lower(email)"
    " WHERE id BETWEEN :first AND :last AND email_key IS NULL",
    of="accounts",
    size=1000,
    pause=0,
)
op.execute(f"CREATE TABLE touched AS SELECT {touched} AS rows")
"""


@pytest.mark.standard("DL-MIG-09")
@pytest.mark.parametrize(("key", "value"), [("bigint", "i * 7"), ("uuid", "gen_random_uuid()")])
async def test_each_batch_is_a_transaction(scratch: Scratch, key: str, value: str) -> None:
    scratch.query(FILL.format(key=key))
    scratch.query(ROWS.format(key=value))
    scratch.migration(BACKFILL)
    await scratch.upgrade()
    assert scratch.query(TRANSACTIONS) == [(3, 2500)]
    assert scratch.query("SELECT rows FROM touched") == [(2500,)]


@pytest.mark.standard("DL-MIG-09")
async def test_an_empty_table(scratch: Scratch) -> None:
    scratch.query(FILL.format(key="bigint"))
    scratch.migration(BACKFILL)
    await scratch.upgrade()
    assert scratch.query("SELECT rows FROM touched") == [(0,)]


@pytest.mark.standard("DL-MIG-09")
async def test_after_a_failure_it_goes_on_where_it_stopped(scratch: Scratch) -> None:
    scratch.query(FILL.format(key="bigint"))
    scratch.query(ROWS.format(key="i"))
    scratch.query("ALTER TABLE accounts ADD CONSTRAINT c CHECK (id < 1500 OR email_key IS NULL)")
    scratch.migration(BACKFILL)
    with pytest.raises(DBAPIError):
        await scratch.upgrade()
    assert scratch.query(TRANSACTIONS) == [(1, 1000)]
    assert scratch.query("SELECT * FROM alembic_version") == []
    scratch.query("ALTER TABLE accounts DROP CONSTRAINT c")
    await scratch.upgrade()
    assert scratch.query(TRANSACTIONS) == [(3, 2500)]
    assert scratch.query("SELECT rows FROM touched") == [(1500,)]


@pytest.mark.standard("DL-MIG-09")
async def test_a_row_that_somebody_else_has_locked_is_waited_for(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_LOCK_TIMEOUT", "0.2")
    monkeypatch.setenv("MIGRATION_LOCK_ATTEMPTS", "20")
    scratch.query(FILL.format(key="bigint"))
    scratch.query(ROWS.format(key="i"))
    scratch.migration(BACKFILL)
    with psycopg.connect(scratch.libpq()) as writer:
        writer.execute("UPDATE accounts SET email = 'Somebody' WHERE id = 1700")
        upgrade = asyncio.create_task(scratch.upgrade())
        while scratch.query(TRANSACTIONS) != [(1, 1000)]:
            assert not upgrade.done()
            await asyncio.sleep(0.02)
        # Longer than one wait for the lock, so that the batch is tried again.
        await asyncio.sleep(0.5)
        # The rows of the batches that are done are free meanwhile.
        scratch.query("UPDATE accounts SET email = 'Other', email_key = 'other' WHERE id = 3")
        writer.commit()
        await upgrade
    assert scratch.query("SELECT email_key FROM accounts WHERE id IN (3, 1700) ORDER BY id") == [
        ("other",),
        ("somebody",),
    ]
    assert scratch.query("SELECT count(*) FROM accounts WHERE email_key IS NULL") == [(0,)]
    # One run did them all: the batch was tried again, not the migration.
    assert scratch.query("SELECT rows FROM touched") == [(2500,)]


async def test_the_statement_must_name_its_batch(scratch: Scratch) -> None:
    scratch.migration('in_batches("UPDATE accounts SET email_key = 1", of="accounts")')
    with pytest.raises(MigrationError, match="BETWEEN :first AND :last"):
        await scratch.upgrade()


async def test_a_script_stops_where_batches_are_needed(scratch: Scratch) -> None:
    scratch.query(FILL.format(key="bigint"))
    scratch.migration(BACKFILL)
    code, output = await scratch.alembic("upgrade", "head", "--sql")
    assert code == 0, output
    block = output[output.index("DO $$") : output.index("END $$;") + len("END $$;")]
    with pytest.raises(psycopg.errors.RaiseException, match="run alembic upgrade"):
        scratch.query(block)
