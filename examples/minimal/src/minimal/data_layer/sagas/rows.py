"""How a worker reads and writes the rows of a saga, in as few statements as possible.

The rows belong to no session, so that they can pass from one transaction to the next.
"""

import json
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import joinedload

from ..database import WriteSession
from .models import SagaRow

# The ORM would send three statements, and each costs as much as the step's own. One statement saves
# all sagas, since no timeout of the server ends a transaction whose client freezes between two
# statements of a pipeline.
_SAVE = text("""
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:sagas AS jsonb)) AS saga (
            id uuid, status text, direction text, epoch bigint, attempts integer,
            due_at timestamptz, reason text, updated_at timestamptz, steps jsonb
        )
    ), saved AS (
        UPDATE sagas
        SET status = given.status, direction = given.direction, epoch = given.epoch,
            attempts = given.attempts, due_at = given.due_at, reason = given.reason,
            updated_at = given.updated_at
        FROM given
        WHERE sagas.id = given.id
    )
    INSERT INTO saga_steps (saga_id, name, state, attempts, result, updated_at)
    SELECT given.id, step.name, step.state, step.attempts, step.result, given.updated_at
    FROM given, jsonb_to_recordset(given.steps)
        AS step (name text, state text, attempts integer, result jsonb)
    ON CONFLICT (saga_id, name) DO UPDATE
    SET state = excluded.state, attempts = excluded.attempts, result = excluded.result,
        updated_at = excluded.updated_at
""")
_HOLD = text("""
    SELECT statement_timestamp() FROM sagas
    WHERE id = :id AND epoch = coalesce(CAST(:epoch AS bigint), epoch)
    FOR UPDATE
""")
_COLUMNS = ("id", "status", "direction", "epoch", "attempts", "due_at", "reason", "updated_at")
_STEP = ("name", "state", "attempts", "result")


async def hold(session: WriteSession, saga_id: UUID, epoch: int | None = None) -> datetime | None:
    """Lock the saga; returns the server's time, or None if the saga has another epoch."""
    found: datetime | None = await session.scalar(_HOLD, {"id": saga_id, "epoch": epoch})
    return found


async def read(session: WriteSession, saga_id: UUID) -> SagaRow:
    """The saga that is held, with its steps."""
    query = select(SagaRow).where(SagaRow.id == saga_id).options(joinedload(SagaRow.steps))
    row = (await session.scalars(query)).unique().one()
    session.expunge_all()
    return row


async def save(session: WriteSession, *rows: SagaRow) -> None:
    """Write the sagas, and those of their steps that have just changed."""
    given = [
        {name: getattr(row, name) for name in _COLUMNS}
        | {
            "steps": [
                {name: getattr(step, name) for name in _STEP}
                for step in row.steps
                if step.updated_at == row.updated_at
            ]
        }
        for row in rows
    ]
    if given:
        await session.execute(_SAVE, {"sagas": json.dumps(given, default=str)})
