"""How a worker reads and writes the rows of a saga: as few statements as there can be.

The rows are in no session, so that one transaction hands them to the next.
"""

import json
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import joinedload

from ..database import WriteSession
from .models import SagaRow

# Through the ORM it would be three statements, and each costs as much as the step's own.
_SAVE = text("""
    WITH saga AS (
        UPDATE sagas
        SET status = :status, direction = :direction, epoch = :epoch, attempts = :attempts,
            due_at = :due_at, reason = :reason, updated_at = :updated_at
        WHERE id = :id
    )
    INSERT INTO saga_steps (saga_id, name, state, attempts, result, updated_at)
    SELECT :id, name, state, attempts, result, :updated_at
    FROM jsonb_to_recordset(CAST(:steps AS jsonb))
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


async def hold(session: WriteSession, saga_id: UUID, epoch: int | None = None) -> datetime | None:
    """Lock the saga under this epoch, or any; the server's moment, or None where it has another."""
    found: datetime | None = await session.scalar(_HOLD, {"id": saga_id, "epoch": epoch})
    return found


async def read(session: WriteSession, saga_id: UUID) -> SagaRow:
    """The saga that is held, with its steps."""
    query = select(SagaRow).where(SagaRow.id == saga_id).options(joinedload(SagaRow.steps))
    row = (await session.scalars(query)).unique().one()
    session.expunge_all()
    return row


async def save(session: WriteSession, *rows: SagaRow) -> None:
    """Write the sagas, and those of their steps that changed now."""
    values = []
    for row in rows:
        changed = [
            {"name": one.name, "state": one.state, "attempts": one.attempts, "result": one.result}
            for one in row.steps
            if one.updated_at == row.updated_at
        ]
        columns = {name: getattr(row, name) for name in _COLUMNS}
        values.append(columns | {"steps": json.dumps(changed)})
    if values:
        await session.execute(_SAVE, values)
