"""The three tables: sagas, their steps, and the outbox.

They join the application's metadata when a saga or topic is declared, so that autogenerate makes
them with the first of these, and no sooner.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, MetaData, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..database import NAMING_CONVENTION, Base, BigIntKey
from .errors import InvalidSaga

Status = Literal["active", "parked", "completed", "compensated"]
Direction = Literal["forward", "backward"]
StepState = Literal["begun", "done", "refused", "undone"]


class Own(Base):
    """Base of these tables, with metadata of its own until they are declared."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 (as in Base)


class SagaRow(Own):
    """A saga that was started.

    Attributes:
        direction: backward once compensations run; it never turns forward again.
        epoch: counts who has it: it grows with each claim, and when a worker or a person lets it
            go on. A worker writes only under the epoch of its own claim.
        attempts: at the current step, since the last progress or a person's retry.
        due_at: when a worker may take it; while one has it, the end of its lease.
        reason: what went wrong last.
        note: what the person wrote who resolved it.
        request_id: the id of the request that started it.
    """

    __tablename__ = "sagas"
    __table_args__ = (
        CheckConstraint(
            "status IN ('active', 'parked', 'completed', 'compensated')", name="status"
        ),
        CheckConstraint("direction IN ('forward', 'backward')", name="direction"),
        Index("ix_sagas_due_at", "due_at", postgresql_where=text("status = 'active'")),
        Index("ix_sagas_updated_at", "updated_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    key: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    status: Mapped[Status] = mapped_column(Text, server_default="active")
    direction: Mapped[Direction] = mapped_column(Text, server_default="forward")
    epoch: Mapped[int] = mapped_column(BigInteger, server_default="0")
    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    reason: Mapped[str | None]
    note: Mapped[str | None]
    request_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    steps: Mapped[list["StepRow"]] = relationship(lazy="raise", passive_deletes=True)

    def step(self, name: str) -> "StepRow | None":
        """The record of the step, if it was begun; the steps must be loaded."""
        return next((one for one in self.steps if one.name == name), None)


class StepRow(Own):
    """A step that was begun.

    Attributes:
        state: begun (nobody knows whether it took effect), done, refused (it surely had none) or
            undone.
        attempts: calls of a remote step, including those whose outcome nobody knows.
        result: what it returned, as JSON.
    """

    __tablename__ = "saga_steps"
    __table_args__ = (
        CheckConstraint("state IN ('begun', 'done', 'refused', 'undone')", name="state"),
    )

    saga_id: Mapped[UUID] = mapped_column(
        ForeignKey("sagas.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[StepState] = mapped_column(Text, server_default="begun")
    attempts: Mapped[int] = mapped_column(server_default="0")
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class OutboxRow(BigIntKey, Own):
    """A message that was committed and is not delivered yet; delivering deletes it.

    Attributes:
        parked: it failed so often that a person must look; later messages of its key wait.
        request_id: the id of the request that published it.
    """

    __tablename__ = "outbox_messages"
    __table_args__ = (Index("ix_outbox_messages_topic_key_id", "topic", "key", "id"),)

    topic: Mapped[str]
    key: Mapped[str]
    payload: Mapped[Any] = mapped_column(JSONB)
    attempts: Mapped[int] = mapped_column(server_default="0")
    parked: Mapped[bool] = mapped_column(server_default="false")
    reason: Mapped[str | None]
    request_id: Mapped[str | None]
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def declare(*models: type[Own]) -> None:
    """Make the tables of these models part of the application's metadata.

    Raises:
        InvalidSaga: the application has another table of that name.
    """
    for model in models:
        own = Own.metadata.tables[model.__tablename__]
        there = Base.metadata.tables.get(own.name)
        if there is None:
            own.to_metadata(Base.metadata)
        elif set(there.columns.keys()) != set(own.columns.keys()):
            raise InvalidSaga(
                f"A model of yours has the table {own.name}, which sagas and the outbox need; give "
                "yours another name."
            )
