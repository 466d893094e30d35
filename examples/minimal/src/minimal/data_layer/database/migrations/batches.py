"""Data migrations: many rows, a few at a time."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import stamina
from alembic import op
from sqlalchemy import ColumnClause, Connection, Row, column, select, table, text

from ...settings import load
from ..errors import lock_was_taken
from .errors import MigrationError
from .settings import MigrationSettings

# A logger below `alembic`, since `alembic.ini` shows the messages of that one.
log = logging.getLogger(f"alembic.{__name__}")

_REPORT_EVERY = 5.0


def in_batches(
    statement: str, *, of: str, key: str = "id", size: int = 5_000, pause: float = 0.05
) -> int:
    """Run an UPDATE, DELETE or INSERT … SELECT over a big table, batch after batch.

        in_batches(
            "UPDATE accounts SET email_key = lower(email)"
            " WHERE id BETWEEN :first AND :last AND email_key IS NULL",
            of="accounts",
        )

    Serves DL-MIG-09. The batches follow the key, and each is a transaction of its own, so that no
    row stays locked for long and autovacuum keeps up. After a failure, run the migration again:
    let the WHERE leave out the rows that are done. What the migration did before the batches is
    committed, so give a data migration a file of its own. The application fills the rows that it
    inserts after the start.

    A batch that meets a row which someone else has locked waits for `MIGRATION_LOCK_TIMEOUT`. It
    is tried `MIGRATION_LOCK_ATTEMPTS` times in all. It doesn't skip the row: a data migration that
    ends has done every row.

    Args:
        statement: SQL with the parameters `:first` and `:last`, the batch's first and last key.
        of: the table that is cut into batches.
        key: a column with a unique index, of a type that can be ordered.
        size: rows in a batch.
        pause: seconds to rest between two batches.

    Returns:
        How many rows the statement touched.

    Raises:
        MigrationError: when the statement doesn't hold `:first` and `:last`.
    """
    bound = text(statement)
    if not {"first", "last"} <= set(bound._bindparams):
        raise MigrationError(
            "The statement of a data migration in batches must say which rows are meant: "
            f"WHERE {key} BETWEEN :first AND :last."
        )
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(_NOT_IN_A_SCRIPT.format(of.replace("'", "''")))
        return 0
    keys: ColumnClause[Any] = column(key)
    rows = table(of, keys)
    attempts = load(MigrationSettings).lock_attempts
    touched = 0
    reported = time.monotonic()
    with context.autocommit_block():
        connection = op.get_bind()
        end = connection.scalar(select(keys).select_from(rows).order_by(keys.desc()).limit(1))
        if end is None:
            return 0
        batch = select(keys).select_from(rows).where(keys <= end).order_by(keys).limit(size)
        found = connection.execute(batch).all()
        while found:
            touched += _run(connection, statement, found, attempts)
            if time.monotonic() - reported > _REPORT_EVERY:
                reported = time.monotonic()
                log.info("%s: %d rows so far, up to %s %s", of, touched, key, found[-1][0])
            time.sleep(pause)
            found = connection.execute(batch.where(keys > found[-1][0])).all()
    log.info("%s: %d rows", of, touched)
    return touched


def _run(connection: Connection, statement: str, found: Sequence[Row[Any]], attempts: int) -> int:
    ends = {"first": found[0][0], "last": found[-1][0]}
    for attempt in stamina.retry_context(
        on=lock_was_taken, attempts=attempts, timeout=None, wait_initial=1
    ):
        with attempt:
            return connection.execute(text(statement), ends).rowcount
    raise AssertionError


_NOT_IN_A_SCRIPT = (
    "DO $$ BEGIN RAISE EXCEPTION 'The data migration of {} runs in batches, which a script can not"
    " do; run alembic upgrade.'; END $$;"
)
