"""The state machine: what a saga does next, and what follows from the outcome.

It changes the rows and talks to nobody; its caller holds the lock of the saga's row. All times are
those of the database server.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import ArgumentError, InvalidRequestError, ProgrammingError

from .. import tracing
from ..database import Violation
from ..metrics import measured
from .declarations import Saga, Step, StepCall, Undo, UndoCall
from .errors import InvalidSaga, Refused
from .models import SagaRow, StepRow

UNDO_ATTEMPTS = 10
LONGEST_PAUSE = 3600.0
LONGEST_REASON = 1000

# Errors of the code: trying again does not help, and a compensation would hide them.
MISTAKES = (
    *(TypeError, AttributeError, NameError, LookupError, AssertionError, NotImplementedError),
    *(ImportError, InvalidSaga, ArgumentError, InvalidRequestError, ProgrammingError),
)


@dataclass(frozen=True, slots=True)
class Hop:
    """One thing to do: a step, or its compensation where the call is an `UndoCall`."""

    saga: str
    step: Step[Any, Any]
    call: StepCall[Any]

    @property
    def is_undo(self) -> bool:
        """Whether it is the compensation."""
        return isinstance(self.call, UndoCall)

    async def run(self, *session: Any) -> Any:
        """Do it, a remote call within its timeout; returns the result of a step as JSON."""
        what, step = ("undo" if self.is_undo else "step"), self.step
        kind = "saga_compensation" if self.is_undo else "saga_step"
        with (
            tracing.part(f"{what} {step.name}", {"attempt": self.call.attempt}),
            measured(kind, f"{self.saga}.{step.name}"),
        ):
            async with asyncio.timeout(None if step.is_local else step.timeout):
                if self.is_undo:
                    return await step.undo(*session, self.call)  # type: ignore[operator]
                return step.write(await step.function(*session, self.call))


def plan(saga: Saga[Any], row: SagaRow, now: datetime) -> Hop | None:
    """What comes next; None when the saga has ended, is parked or must wait.

    The call of a remote step is recorded before it is made.
    """
    row.updated_at = now
    if unknown := {one.name for one in row.steps} - {step.name for step in saga.steps}:
        _park(row, f"The code has no step {', '.join(sorted(unknown))}; declare a new version.")
        return None
    try:
        while row.status == "active" and row.due_at <= now:
            step = current(saga, row)
            if step is None:
                row.status = "completed" if row.direction == "forward" else "compensated"
                continue
            is_remote = row.direction == "forward" and not step.is_local
            if row.attempts >= _most(row, step):  # that many workers died in it
                reason = f"{step.name}: its last attempt did not end."
                if is_remote:
                    _turn_back(saga, row, reason, now)
                else:
                    _park(row, reason)
                continue
            row.attempts += 1
            if is_remote:
                record = _record(row, step.name, now)
                record.state, record.attempts = "begun", record.attempts + 1
            return Hop(saga.name, step, saga.call(row, step))
    except InvalidSaga as error:
        _park(row, str(error))
    return None


def current(saga: Saga[Any], row: SagaRow) -> Step[Any, Any] | None:
    """The next step to do, or to undo on the way back; None if none is left."""
    states = {one.name: one.state for one in row.steps}
    if row.direction == "forward":
        return next((step for step in saga.steps if states.get(step.name) != "done"), None)
    effects = [step for step in saga.steps if states.get(step.name) in ("begun", "done")]
    return next((step for step in reversed(effects) if not isinstance(step.undo, Undo)), None)


def succeed(row: SagaRow, hop: Hop, result: Any, now: datetime) -> None:
    """Record that the hop succeeded; `result` is JSON."""
    record = _record(row, hop.step.name, now)
    if hop.is_undo:
        record.state = "undone"
    else:
        record.state, record.result = "done", result
    row.attempts, row.due_at = 0, now


def fail(saga: Saga[Any], row: SagaRow, hop: Hop, error: Exception, now: datetime) -> None:
    """Record that the hop failed: the saga tries again later, turns back, or is parked."""
    step = hop.step
    reason = f"{step.name}: {type(error).__name__}: {error}".replace("\0", "")[:LONGEST_REASON]
    row.reason, row.updated_at = reason, now
    refused = isinstance(error, Refused) or (step.is_local and isinstance(error, Violation))
    is_last = row.attempts >= _most(row, step)
    if isinstance(error, MISTAKES) or (hop.is_undo and is_last):
        _park(row, reason)
    elif not hop.is_undo and (refused or is_last):
        record = row.step(step.name)
        # A refusal proves nothing if nobody knows the outcome of an earlier attempt.
        if refused and record is not None and record.attempts == 1:
            record.state, record.updated_at = "refused", now
        _turn_back(saga, row, reason, now)
    else:
        pause = min(step.backoff * 2 ** min(row.attempts - 1, 20), LONGEST_PAUSE)
        row.due_at = now + timedelta(seconds=pause)


def reopen(row: SagaRow, hop: Hop, now: datetime) -> bool:
    """Let a step be undone once more: its call may have taken effect after the lease was lost."""
    if hop.is_undo or row.direction == "forward":
        return False  # whatever undoes the step comes after this effect
    record = _record(row, hop.step.name, now)
    if record.state in ("refused", "undone"):
        record.state = "begun"
    # A worker that compensates just now may have undone the step before this effect: fence it.
    resume(row, now)
    return True


def resume(row: SagaRow, now: datetime) -> None:
    """Let a worker go on with the saga in its direction, with all attempts."""
    row.status, row.attempts, row.due_at, row.updated_at = "active", 0, now, now
    row.epoch += 1


def turn_back(saga: Saga[Any], row: SagaRow, now: datetime) -> bool:
    """Let a saga that a person gives up compensate what it did; False if it can't."""
    if row.direction == "backward" or _is_bound(saga, row):
        return False
    resume(row, now)
    row.direction = "backward"
    return True


def settle(saga: Saga[Any], row: SagaRow, result: Any, now: datetime) -> str | None:
    """Count the step at which a saga is parked as done by a person; returns its name, or None."""
    step = current(saga, row)
    if step is None:
        return None
    record = _record(row, step.name, now)
    if row.direction == "backward":
        record.state = "undone"
    else:
        record.state, record.result = "done", step.write(step.read(result))
    resume(row, now)
    return step.name


def _most(row: SagaRow, step: Step[Any, Any]) -> int:
    """How often the step is tried, in the direction in which the saga goes."""
    return step.attempts if row.direction == "forward" else UNDO_ATTEMPTS


def _record(row: SagaRow, name: str, now: datetime) -> StepRow:
    record = row.step(name)
    if record is None:
        record = StepRow(name=name, state="begun", attempts=0)
        row.steps.append(record)
    row.updated_at = record.updated_at = now
    return record


def _is_bound(saga: Saga[Any], row: SagaRow) -> bool:
    """Whether a step that can't be undone took effect, or may have."""
    final = {step.name for step in saga.steps if step.undo is Undo.IMPOSSIBLE}
    return any(one.name in final and one.state in ("begun", "done") for one in row.steps)


def _turn_back(saga: Saga[Any], row: SagaRow, reason: str, now: datetime) -> None:
    if _is_bound(saga, row):
        _park(row, reason)
        return
    unknown = {one.name for one in row.steps if one.state == "begun"}
    wait = max((step.undo_after for step in saga.steps if step.name in unknown), default=0.0)
    row.direction, row.reason = "backward", reason
    row.attempts, row.due_at = 0, now + timedelta(seconds=wait)


def _park(row: SagaRow, reason: str) -> None:
    row.status, row.reason = "parked", reason
