"""What a person or a check does with existing sagas and messages."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Double, cast, func, select, text, update
from sqlalchemy.orm import selectinload

from ..database import ReadSession, WriteSession
from . import machine
from .declarations import SAGAS
from .errors import UnknownSaga
from .models import OutboxRow, SagaRow, Status


class State(NamedTuple):
    """How many sagas of one name, version and status there are.

    Attributes:
        late: for how many seconds the saga that waits longest has been due.
    """

    name: str
    version: int
    status: Status
    number: int
    late: float

    @property
    def is_known(self) -> bool:
        """Whether this code declares the saga in this version."""
        return (self.name, self.version) in SAGAS


class Backlog(NamedTuple):
    """How many messages of a topic wait or are parked, and the age of the oldest in seconds."""

    topic: str
    waiting: int
    parked: int
    oldest: float


async def has_table(session: ReadSession, model: type[SagaRow] | type[OutboxRow]) -> bool:
    """Whether a migration has made the table."""
    name = {"name": model.__tablename__}
    return bool(await session.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), name))


async def states(session: ReadSession) -> list[State]:
    """All sagas, counted; empty if their table does not exist yet."""
    if not await has_table(session, SagaRow):
        return []
    kind = (SagaRow.name, SagaRow.version, SagaRow.status)
    late = _age(func.min(SagaRow.due_at))
    found = await session.execute(select(*kind, func.count(), late).group_by(*kind).order_by(*kind))
    return [State(*one) for one in found]


async def backlog(session: ReadSession) -> list[Backlog]:
    """The messages that are not delivered, by topic; empty if there is no outbox yet."""
    if not await has_table(session, OutboxRow):
        return []
    waiting, parked = (func.count().filter(one) for one in (~OutboxRow.parked, OutboxRow.parked))
    age = _age(func.min(OutboxRow.created_at))
    found = await session.execute(
        select(OutboxRow.topic, waiting, parked, age).group_by(OutboxRow.topic)
    )
    return [Backlog(*one) for one in found]


async def find(session: ReadSession, status: Status | None, limit: int) -> Sequence[SagaRow]:
    """Sagas with their steps, the last changed first."""
    query = select(SagaRow).options(selectinload(SagaRow.steps))
    if status is not None:
        query = query.where(SagaRow.status == status)
    return (await session.scalars(query.order_by(SagaRow.updated_at.desc()).limit(limit))).all()


async def saga(session: ReadSession, saga_id: UUID) -> SagaRow:
    """A saga with its steps; raises `UnknownSaga` if there is none."""
    query = select(SagaRow).where(SagaRow.id == saga_id).options(selectinload(SagaRow.steps))
    row = await session.scalar(query)
    if row is None:
        raise UnknownSaga(f"There is no saga {saga_id}; `sagas ls` shows those that there are.")
    return row


async def retry(session: WriteSession, saga_id: UUID) -> None:
    """Let a parked saga go on where it stopped, with all attempts, or raise `UnknownSaga`."""
    machine.resume(*await _parked(session, saga_id))


async def resolve(session: WriteSession, saga_id: UUID, note: str, result: Any = None) -> str:
    """Count the step at which a saga is parked as settled by a person; returns its name.

    On its way forward the step counts as done, with `result`; on its way back as undone.

    Raises:
        UnknownSaga: no parked saga has the id, the code does not declare it, or no step is left.
        InvalidSaga: the result is not of the step's type.
    """
    row, now = await _parked(session, saga_id)
    declared = SAGAS.get((row.name, row.version))
    step = declared and machine.settle(declared, row, result, now)
    if not step:
        raise UnknownSaga(f"The saga {saga_id} hangs at no step that this code declares.")
    row.note = note
    return step


async def give_up(session: WriteSession, saga_id: UUID, note: str) -> None:
    """Let a parked saga on its way forward compensate what it did, or raise `UnknownSaga`."""
    row, now = await _parked(session, saga_id)
    declared = SAGAS.get((row.name, row.version))
    if declared is None or not machine.turn_back(declared, row, now):
        raise UnknownSaga(
            f"The saga {saga_id} is on its way back already, past a step that can't be undone, or "
            "of a version that this code does not declare."
        )
    row.note = note


async def redeliver(session: WriteSession, ids: Sequence[int]) -> int:
    """Deliver parked messages again, all of them if no id is given; returns how many."""
    chosen = update(OutboxRow).where(OutboxRow.parked)
    if ids:
        chosen = chosen.where(OutboxRow.id.in_(ids))
    again = chosen.values(parked=False, attempts=0, due_at=func.statement_timestamp())
    return len((await session.scalars(again.returning(OutboxRow.id))).all())


async def _parked(session: WriteSession, saga_id: UUID) -> tuple[SagaRow, Any]:
    query = select(SagaRow).where(SagaRow.id == saga_id, SagaRow.status == "parked")
    row = await session.scalar(query.with_for_update().options(selectinload(SagaRow.steps)))
    if row is None:
        raise UnknownSaga(f"There is no parked saga {saga_id}; `sagas ls --status parked` asks.")
    return row, await session.scalar(select(func.statement_timestamp()))


def _age(moment: Any) -> Any:
    return cast(func.extract("epoch", func.statement_timestamp() - moment), Double)
