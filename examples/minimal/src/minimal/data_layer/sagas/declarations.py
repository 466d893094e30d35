"""Declaring sagas: steps that take effect one after the other, and what undoes each of them."""

import enum
import inspect
import json
import math
import re
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar, get_type_hints
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from .. import logs
from ..database import WriteSession
from .errors import InvalidSaga, KeyReused
from .models import SagaRow, StepRow, declare
from .waking import ring_all

Arguments = TypeVar("Arguments", bound=BaseModel)
Result = TypeVar("Result")

_NAME = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")
_IDS = uuid.uuid5(uuid.NAMESPACE_OID, "sagas")

SAGAS: "dict[tuple[str, int], Saga[Any]]" = {}
"""The declared sagas by name and version."""


class Undo(enum.Enum):
    """Why a step has no compensation."""

    NOTHING = "the step leaves nothing behind that must be undone"
    IMPOSSIBLE = "past this step the saga only goes forward, and is parked where it can't"


@dataclass(frozen=True, slots=True)
class StepCall(Generic[Arguments]):
    """What a step is given.

    Attributes:
        saga_id: the id of the saga.
        key: the same in every attempt of this step and in its compensation: hand it to the service
            as its idempotency key.
        arguments: the arguments that the saga was started with.
        attempt: the number of this attempt, from 1 on since the saga's last progress.
    """

    saga_id: UUID
    key: UUID
    arguments: Arguments
    attempt: int
    _results: dict[str, Any] = field(repr=False)

    def result(self, step: "Step[Arguments, Result]") -> Result:
        """What an earlier step returned.

        Raises:
            InvalidSaga: the step is not done, or what is stored no longer fits its type.
        """
        if step.name not in self._results:
            raise InvalidSaga(f"The step {step.name} has no result yet; ask a later step for it.")
        return step.read(self._results[step.name])


@dataclass(frozen=True, slots=True)
class UndoCall(StepCall[Arguments]):
    """What a compensation is given.

    Attributes:
        known: whether the step surely took effect, and has a result. If False, nobody knows: undo
            it by its key, and let the service remember that it is cancelled.
    """

    known: bool = False


LocalStep: TypeAlias = Callable[[WriteSession, StepCall[Arguments]], Coroutine[Any, Any, Result]]
RemoteStep: TypeAlias = Callable[[StepCall[Arguments]], Coroutine[Any, Any, Result]]
LocalUndo: TypeAlias = Callable[[WriteSession, UndoCall[Arguments]], Coroutine[Any, Any, None]]
RemoteUndo: TypeAlias = Callable[[UndoCall[Arguments]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step(Generic[Arguments, Result]):
    """A declared step, named after its function; its fields are the arguments of `remote`."""

    name: str
    is_local: bool
    function: Callable[..., Coroutine[Any, Any, Result]]
    undo: Callable[..., Coroutine[Any, Any, None]] | Undo
    adapter: TypeAdapter[Result] = field(repr=False)
    attempts: int
    backoff: float
    timeout: float = 1.0
    undo_after: float = 0.0

    def write(self, result: Result) -> Any:
        """The result as JSON.

        Raises:
            TypeError: the result is not of the type that the function says it returns.
        """
        try:
            return self.adapter.dump_python(result, mode="json", warnings="error")
        except ValueError as error:  # pydantic's serialization error is one
            raise TypeError(f"{self.name} does not return what its annotation says") from error

    def read(self, stored: Any) -> Result:
        """The result, from the JSON that `write` made of it.

        Raises:
            InvalidSaga: the JSON no longer fits this type.
        """
        try:
            return self.adapter.validate_json(json.dumps(stored))
        except ValidationError as error:
            raise _changed(f"The result of {self.name}") from error


class Saga(Generic[Arguments]):
    """A saga: its steps run in the order in which they are declared.

    `__main__.py` names the module that declares it, in `create_cli(declares=[…])`, and
    `migrations/env.py` imports it, so that autogenerate makes its tables.

    Args:
        name: a lasting name, such as `market.booking`.
        arguments: the model of its arguments. They are stored as plain JSON: no secrets.
        version: count it up when steps are added, removed or change their meaning, and keep the
            old version in the code until no saga of it runs any more.

    Raises:
        InvalidSaga: the name or version is wrong or taken, or `arguments` is not a model.
    """

    def __init__(self, name: str, arguments: type[Arguments], *, version: int = 1) -> None:
        check_name("saga", name, taken=(name, version) in SAGAS)
        if version < 1 or not issubclass(arguments, BaseModel):
            raise InvalidSaga(
                f"The saga {name} needs a model of pydantic for its arguments, and a version that "
                "counts from 1."
            )
        self.name, self.version, self.arguments = name, version, arguments
        self.steps: list[Step[Arguments, Any]] = []
        declare(SagaRow, StepRow)
        SAGAS[name, version] = self

    def local(
        self, *, undo: LocalUndo[Arguments] | Undo, attempts: int = 5, backoff: float = 1.0
    ) -> Callable[[LocalStep[Arguments, Result]], Step[Arguments, Result]]:
        """Declare a step whose writes commit together with its record.

        A `Violation` that it raises counts as a refusal: the row would break the same rule again.
        The arguments are those of `remote`.

        Raises:
            InvalidSaga: the step can't work.
        """
        options = {"is_local": True, "attempts": attempts, "backoff": backoff}
        return lambda function: self._add(function, undo, options)

    def remote(
        self,
        *,
        undo: RemoteUndo[Arguments] | Undo,
        attempts: int = 5,
        backoff: float = 1.0,
        timeout: float = 10.0,
        undo_after: float = 0.0,
    ) -> Callable[[RemoteStep[Arguments, Result]], Step[Arguments, Result]]:
        """Declare a step that calls a service: at least once, always with the same key.

        Args:
            undo: its compensation, or why it has none.
            attempts: how often it is tried before the saga turns back.
            backoff: seconds before the second attempt; doubled for each further one, up to an hour.
            timeout: seconds for one attempt, and for one of its compensation.
            undo_after: seconds to wait before a call whose outcome nobody knows is undone. Some
                services do not remember that an unknown key was cancelled: for them, give the
                longest time that the service may work on a request.

        Raises:
            InvalidSaga: the step can't work.
        """
        options: dict[str, Any] = {"is_local": False, "attempts": attempts, "backoff": backoff}
        options |= {"timeout": timeout, "undo_after": undo_after}
        return lambda function: self._add(function, undo, options)

    async def start(self, session: WriteSession, arguments: Arguments, *, key: str) -> UUID:
        """Start the saga once for this key, in the caller's transaction; returns its id.

        A worker takes it after the commit.

        Raises:
            KeyReused: the key has started a saga with other arguments.
            InvalidSaga: it has no steps, or the key is too long.
        """
        if not self.steps:
            raise InvalidSaga(f"The saga {self.name} has no steps; declare some.")
        check_key(self.name, key)
        row = {
            "id": uuid.uuid5(_IDS, f"{self.name}\0{key}"),
            "name": self.name,
            "version": self.version,
            "key": key,
            "arguments": arguments.model_dump(mode="json"),
            "request_id": logs.request_id(),
        }
        new = insert(SagaRow).values(row).on_conflict_do_nothing().returning(SagaRow.id)
        if await session.scalar(new) is None:
            there = await session.scalar(select(SagaRow.arguments).where(SagaRow.id == row["id"]))
            if there != row["arguments"]:
                raise KeyReused(
                    f"A saga {self.name} with this key was started with other arguments; give each "
                    "operation a key of its own."
                )
        session.after_commit(ring_all)
        return UUID(str(row["id"]))

    def call(self, row: SagaRow, step: Step[Arguments, Any]) -> StepCall[Arguments]:
        """What the step is given now, or its compensation if the saga goes back.

        Raises:
            InvalidSaga: the stored arguments do not fit the model any more.
        """
        try:
            arguments = self.arguments.model_validate_json(json.dumps(row.arguments))
        except ValidationError as error:
            raise _changed(f"The arguments of {self.name}") from error
        results = {one.name: one.result for one in row.steps if one.state == "done"}
        given = (row.id, uuid.uuid5(row.id, step.name), arguments, row.attempts, results)
        if row.direction == "forward":
            return StepCall(*given)
        return UndoCall(*given, known=step.name in results)

    def _add(
        self,
        function: Callable[..., Coroutine[Any, Any, Result]],
        undo: Callable[..., Coroutine[Any, Any, None]] | Undo,
        options: dict[str, Any],
    ) -> Step[Arguments, Result]:
        name = getattr(function, "__name__", "")
        if reason := self._why_not(name, function, undo, options):
            raise InvalidSaga(f"The step {name} of {self.name} {reason}.")
        try:
            adapter = TypeAdapter(get_type_hints(function)["return"])
        except (
            *(KeyError, NameError, TypeError),
            *(PydanticSchemaGenerationError, PydanticUserError),
        ) as error:
            raise InvalidSaga(
                f"The step {name} of {self.name} says no type of its result that JSON can hold; "
                "annotate it, `-> None` where it returns nothing."
            ) from error
        step: Step[Arguments, Result] = Step(
            name=name, function=function, undo=undo, adapter=adapter, **options
        )
        self.steps.append(step)
        return step

    def _why_not(self, name: str, function: Any, undo: Any, options: dict[str, Any]) -> str:
        """Why there can't be such a step; empty when there can."""
        for one in (function, *([] if isinstance(undo, Undo) else [undo])):
            if not inspect.iscoroutinefunction(one):
                return f"is given {one!r}, which is no function of `async def`; declare one"
        if not 0 < len(name) <= 100 or any(step.name == name for step in self.steps):
            return "has a name that is taken or too long; rename it"
        for what, least in (("attempts", 1), ("backoff", 0), ("timeout", 1e-3), ("undo_after", 0)):
            if not least <= options.get(what, least) < math.inf:
                return f"has {options[what]} for {what}; use {least} or more"
        is_bound = any(step.undo is Undo.IMPOSSIBLE for step in self.steps)
        if is_bound and not isinstance(undo, Undo):
            return (
                "comes after one that can't be undone, so its compensation would never run; write "
                "undo=Undo.IMPOSSIBLE or Undo.NOTHING"
            )
        return ""


def check_name(kind: str, name: str, *, taken: bool) -> None:
    """Raise `InvalidSaga` if the name of a saga or topic is not valid, or is taken."""
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise InvalidSaga(
            f"{name[:120]!r} is no name of a {kind}; write one like market.booking, of at most 100 "
            "characters."
        )
    if taken:
        raise InvalidSaga(
            f"The {kind} {name} is declared twice; rename one, or give a saga another version."
        )


def check_key(name: str, key: str) -> None:
    """Raise `InvalidSaga` for a key of a saga or message that is empty or too long."""
    if not 0 < len(key) <= 500:
        raise InvalidSaga(f"A key of {name} has {len(key)} characters; use 1 to 500.")


def _changed(what: str) -> InvalidSaga:
    return InvalidSaga(
        f"{what} in the database does not fit its type in this code; declare the changed saga as a "
        "new version."
    )
