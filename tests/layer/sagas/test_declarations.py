"""Declarations that can't work are refused at import, and those of the wrong type by mypy."""

import math
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from my_project.data_layer.database import Database, WriteSession
from my_project.data_layer.sagas import (
    InvalidSaga,
    Saga,
    StepCall,
    Topic,
    Undo,
    UndoCall,
    calling,
    declarations,
    outbox,
    publish,
)
from my_project.data_layer.sagas.outbox import Message


class Order(BaseModel):
    pass


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    registers: tuple[dict[Any, Any], ...] = (declarations.SAGAS, outbox.TOPICS)
    there = [dict(one) for one in registers]
    yield
    for register, before in zip(registers, there, strict=True):
        register.clear()
        register.update(before)


async def step(session: WriteSession, call: StepCall[Order]) -> None: ...


async def undo(session: WriteSession, call: UndoCall[Order]) -> None: ...


async def ask(call: StepCall[Order]) -> None: ...


@pytest.mark.parametrize("name", ["", "Order", "a b", "a" * 101, "a..b"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(InvalidSaga, match="is no name of a saga"):
        Saga(name, Order)
    with pytest.raises(InvalidSaga, match="is no name of a topic"):
        Topic(name, calling(deliver))


async def deliver(message: Message) -> None: ...


def test_a_name_and_version_are_declared_once() -> None:
    Saga("tests.twice", Order)
    Saga("tests.twice", Order, version=2)
    with pytest.raises(InvalidSaga, match="declared twice"):
        Saga("tests.twice", Order, version=2)
    Topic("tests.twice", calling(deliver))
    with pytest.raises(InvalidSaga, match="declared twice"):
        Topic("tests.twice", calling(deliver))


def test_arguments_are_a_model_and_versions_count_from_1() -> None:
    with pytest.raises(InvalidSaga, match="needs a model of pydantic"):
        Saga("tests.arguments", dict)  # type: ignore[type-var]
    with pytest.raises(InvalidSaga, match="counts from 1"):
        Saga("tests.arguments", Order, version=0)


def test_a_step_of_no_async_function() -> None:
    saga = Saga("tests.sync", Order)

    def sync(session: Any, call: Any) -> None: ...

    with pytest.raises(InvalidSaga, match="no function of `async def`"):
        saga.local(undo=undo)(sync)  # type: ignore[arg-type]
    with pytest.raises(InvalidSaga, match="no function of `async def`"):
        saga.local(undo=sync)(step)  # type: ignore[arg-type]


def test_a_step_twice() -> None:
    saga = Saga("tests.step-twice", Order)
    saga.local(undo=undo)(step)
    with pytest.raises(InvalidSaga, match="name that is taken"):
        saga.local(undo=undo)(step)


@pytest.mark.parametrize(
    "options",
    [{"attempts": 0}, {"timeout": 0.0}, {"timeout": math.inf}, {"backoff": -1}, {"undo_after": -1}],
)
def test_numbers_that_make_no_sense(options: dict[str, Any]) -> None:
    saga = Saga("tests.numbers", Order)
    with pytest.raises(InvalidSaga, match=f"for {next(iter(options))}; use"):
        saga.remote(undo=Undo.NOTHING, **options)(ask)


def test_a_compensation_that_would_never_run() -> None:
    saga = Saga("tests.never", Order)
    saga.remote(undo=Undo.IMPOSSIBLE)(ask)
    with pytest.raises(InvalidSaga, match="would never run"):
        saga.local(undo=undo)(step)
    saga.local(undo=Undo.NOTHING)(step)


def test_a_result_that_json_does_not_have() -> None:
    saga = Saga("tests.result", Order)

    async def opened(call: StepCall[Order]) -> Database:
        raise NotImplementedError

    async def silent(call: StepCall[Order]):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    for function in (opened, silent):
        with pytest.raises(InvalidSaga, match="no type of its result"):
            saga.remote(undo=Undo.NOTHING)(function)


async def test_a_saga_without_steps_and_keys_that_are_none(database: Database) -> None:
    saga = Saga("tests.empty", Order)
    topic = Topic("tests.topic", calling(deliver))
    async with database.transaction() as session:
        with pytest.raises(InvalidSaga, match="has no steps"):
            await saga.start(session, Order(), key="one")
        saga.local(undo=undo)(step)
        for key in ("", "k" * 501):
            for use in (saga.start(session, Order(), key=key), _publish(session, topic, key)):
                with pytest.raises(InvalidSaga, match="characters; use 1 to 500"):
                    await use


def _publish(session: WriteSession, topic: Topic, key: str) -> Awaitable[None]:
    return publish(session, topic, key=key, payload=None)


TYPES = """
from pydantic import BaseModel
from my_project.data_layer.database import WriteSession
from my_project.data_layer.sagas import Saga, StepCall, Undo, UndoCall

class Order(BaseModel): ...
class Bill(BaseModel): ...

orders = Saga("orders", Order)

@orders.local(undo=Undo.NOTHING)
async def number(session: WriteSession, call: StepCall[Order]) -> int:
    return 1

async def of_bills(session: WriteSession, call: UndoCall[Bill]) -> None: ...
"""
WRONG: dict[str, str] = {
    "a step of another saga's arguments": """
@orders.local(undo=Undo.NOTHING)
async def other(session: WriteSession, call: StepCall[Bill]) -> None: ...
""",
    "a compensation of another's": """
@orders.local(undo=of_bills)
async def other(session: WriteSession, call: StepCall[Order]) -> None: ...
""",
    "a result taken for another type": """
@orders.local(undo=Undo.NOTHING)
async def other(session: WriteSession, call: StepCall[Order]) -> str:
    return call.result(number)
""",
    "a start with other arguments": """
async def begin(session: WriteSession) -> None:
    await orders.start(session, Bill(), key="one")
""",
    "no word on how to undo": """
@orders.local()
async def other(session: WriteSession, call: StepCall[Order]) -> None: ...
""",
}


def test_what_does_not_fit_is_an_error_of_types(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    right = tmp_path / "right.py"
    right.write_text(TYPES, encoding="utf-8")
    for number, source in enumerate(WRONG.values()):
        (tmp_path / f"wrong_{number}.py").write_text(TYPES + source, encoding="utf-8")
    cache = f"--cache-dir={tmp_path / 'cache'}"
    options = ["--strict", "--no-error-summary", "--config-file=", cache]
    command: list[str | Path] = [sys.executable, "-m", "mypy", *options, *tmp_path.glob("*.py")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert "right.py" not in said, said
    for number, what in enumerate(WRONG):
        assert f"wrong_{number}.py" in said, what
