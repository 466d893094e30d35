"""What follows from how a step ends: retries, compensation, parking, and what a person does."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel
from sqlalchemy import event, func, select

from my_project.data_layer.database import Database, WriteSession
from my_project.data_layer.sagas import (
    InvalidSaga,
    KeyReused,
    Refused,
    Saga,
    StepCall,
    Undo,
    UndoCall,
    UnknownSaga,
    declarations,
    machine,
    operating,
    publish_all,
)
from my_project.data_layer.sagas.models import SagaRow

from . import bank
from .workers import ended, working


class Order(BaseModel):
    price: Decimal = Decimal("1.10")


@dataclass
class Script:
    """What the steps shall raise, in turn, and what was called."""

    errors: dict[str, list[Exception]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    keys: set[UUID] = field(default_factory=set)

    def play(self, name: str) -> None:
        self.calls.append(name)
        if waiting := self.errors.get(name):
            raise waiting.pop(0)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def order(script: Script, monkeypatch: pytest.MonkeyPatch) -> Saga[Order]:
    monkeypatch.setattr(declarations, "SAGAS", declarations.SAGAS)
    monkeypatch.delitem(declarations.SAGAS, ("tests.order", 1), raising=False)
    return declare(script, 1)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    there = dict(declarations.SAGAS)
    yield
    declarations.SAGAS.clear()
    declarations.SAGAS.update(there)


def declare(script: Script, version: int) -> Saga[Order]:
    saga = Saga("tests.order", Order, version=version)

    async def forget(session: WriteSession, call: UndoCall[Order]) -> None:
        script.play(f"undo note{'' if call.known else ' perhaps'}")

    @saga.local(undo=forget, attempts=3, backoff=0)
    async def note(session: WriteSession, call: StepCall[Order]) -> Decimal:
        script.play("note")
        return call.arguments.price * 2

    async def cancel(call: UndoCall[Order]) -> None:
        script.keys.add(call.key)
        script.play(f"undo ask{'' if call.known else ' perhaps'}")
        assert call.result(note) == Decimal("2.20")

    @saga.remote(undo=cancel, attempts=3, backoff=0)
    async def ask(call: StepCall[Order]) -> dict[str, Decimal]:
        script.keys.add(call.key)
        script.play("ask")
        return {"price": call.result(note)}

    @saga.remote(undo=Undo.IMPOSSIBLE, attempts=2, backoff=0)
    async def pay(call: StepCall[Order]) -> None:
        script.play("pay")
        assert call.result(ask) == {"price": Decimal("2.20")}

    @saga.local(undo=Undo.NOTHING, attempts=2, backoff=0)
    async def tell(session: WriteSession, call: StepCall[Order]) -> None:
        script.play("tell")

    return saga


Run = Callable[[], Awaitable[SagaRow]]


@pytest.fixture
def run(database: Database, order: Saga[Order]) -> Run:
    """Start the saga, once, and run it until it ends or is parked."""

    async def run() -> SagaRow:
        async with database.transaction() as session:
            saga_id = await order.start(session, Order(), key="one")
        async with working(database):
            await ended(database)
        async with database.read_only() as session:
            return await operating.saga(session, saga_id)

    return run


async def test_steps_run_in_order_and_see_results(run: Run, script: Script) -> None:
    row = await run()
    assert row.status == "completed"
    assert script.calls == ["note", "ask", "pay", "tell"]


async def test_no_statement_goes_by_a_pipeline(run: Run, database: Database) -> None:
    """A worker that froze within one would be cut off by no timeout of the server."""
    many: list[str] = []

    def note(*given: Any) -> None:
        _, _, statement, _, _, executemany = given
        if executemany:
            many.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        async with database.transaction() as session:
            for key in range(5):
                await declarations.SAGAS["tests.order", 1].start(session, Order(), key=f"{key}")
            await publish_all(session, bank.lines, [("a", ["", "1"]), ("b", ["", "2"])])
        await run()
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert many == []


async def test_a_remote_step_is_tried_again_with_the_same_key(run: Run, script: Script) -> None:
    script.errors = {"ask": [OSError(), TimeoutError()], "note": [OSError()]}
    assert (await run()).status == "completed"
    assert script.calls == ["note", "note", "ask", "ask", "ask", "pay", "tell"]
    assert len(script.keys) == 1


async def test_a_call_is_not_made_again_since_the_local_step_after_it_fails(
    run: Run, script: Script
) -> None:
    script.errors = {"tell": [OSError()]}
    row = await run()
    assert row.status == "completed"
    assert script.calls == ["note", "ask", "pay", "tell", "tell"]
    assert {one.name: one.attempts for one in row.steps if one.state == "done"} == {
        "note": 0,
        "ask": 1,
        "pay": 1,
        "tell": 0,
    }


async def test_the_first_failure_beside_a_call_is_one_of_the_attempts(
    run: Run, script: Script
) -> None:
    script.errors = {"tell": [OSError()] * 3}
    row = await run()
    assert row.status == "parked"
    assert script.calls == ["note", "ask", "pay", "tell", "tell"]


async def test_a_compensation_is_not_made_again_since_the_next_one_fails(
    run: Run, script: Script
) -> None:
    script.errors = {"pay": [Refused("no")], "undo note": [OSError()]}
    assert (await run()).status == "compensated"
    assert script.calls[-3:] == ["undo ask", "undo note", "undo note"]


async def test_compensations_run_backward_and_know_what_is_known(run: Run, script: Script) -> None:
    script.errors = {"ask": [OSError()] * 3, "undo ask perhaps": [OSError()] * 2}
    assert (await run()).status == "compensated"
    assert script.calls[-4:] == [*["undo ask perhaps"] * 3, "undo note"]
    assert len(script.keys) == 1


async def test_what_was_refused_at_once_is_not_undone(run: Run, script: Script) -> None:
    script.errors = {"ask": [Refused("sold out")]}
    row = await run()
    assert row.status == "compensated"
    assert script.calls == ["note", "ask", "undo note"]
    assert row.reason == "ask: Refused: sold out"


async def test_a_refusal_after_an_unknown_outcome_is_no_proof(run: Run, script: Script) -> None:
    script.errors = {"ask": [OSError(), Refused("I have it already")]}
    assert (await run()).status == "compensated"
    assert script.calls == ["note", "ask", "ask", "undo ask perhaps", "undo note"]


async def test_what_the_database_refuses_at_the_end_of_a_step_did_not_happen(
    database: Database, script: Script
) -> None:
    saga = Saga("tests.overdraw", Order)

    async def undo(session: WriteSession, call: UndoCall[Order]) -> None:
        script.play("undo")

    @saga.remote(undo=Undo.NOTHING)
    async def ask(call: StepCall[Order]) -> None:
        script.play("ask")

    @saga.local(undo=undo)
    async def overdraw(session: WriteSession, call: StepCall[Order]) -> None:
        session.add(bank.Account(id=1, cash=-1))  # written when the transaction ends

    async with database.transaction() as session:
        saga_id = await saga.start(session, Order(), key="one")
    async with working(database):
        await ended(database)
    async with database.read_only() as reading:
        row = await operating.saga(reading, saga_id)
    assert row.status == "compensated"
    assert {one.name: one.state for one in row.steps} == {"ask": "done"}
    assert script.calls == ["ask"]


async def test_what_is_known_to_have_happened_is_undone_as_such(run: Run, script: Script) -> None:
    script.errors = {"pay": [Refused("no")]}
    assert (await run()).status == "compensated"
    assert script.calls == ["note", "ask", "pay", "undo ask", "undo note"]


async def test_past_what_cannot_be_undone_a_saga_is_parked(
    run: Run, script: Script, database: Database
) -> None:
    script.errors = {"pay": [OSError(), Refused("no")]}
    row = await run()
    assert (row.status, row.direction) == ("parked", "forward")
    async with database.transaction() as session:
        with pytest.raises(UnknownSaga, match="past a step that can't be undone"):
            await operating.give_up(session, row.id, "no")
        assert await operating.resolve(session, row.id, "paid by hand") == "pay"
    row = await run()
    assert (row.status, row.note) == ("completed", "paid by hand")
    assert script.calls[-1] == "tell"


@pytest.mark.parametrize("mistake", [TypeError("a"), KeyError("b"), AssertionError()])
async def test_a_mistake_in_the_program_parks_at_once(
    run: Run, script: Script, database: Database, mistake: Exception
) -> None:
    script.errors = {"ask": [mistake]}
    row = await run()
    assert (row.status, row.direction) == ("parked", "forward")
    assert script.calls == ["note", "ask"]
    async with database.transaction() as session:
        await operating.retry(session, row.id)
    assert (await run()).status == "completed"


async def test_a_parked_saga_can_be_given_up(run: Run, script: Script, database: Database) -> None:
    script.errors = {"ask": [TypeError()]}
    row = await run()
    async with database.transaction() as session:
        await operating.give_up(session, row.id, "never mind")
    row = await run()
    assert (row.status, row.note) == ("compensated", "never mind")
    assert script.calls == ["note", "ask", "undo ask perhaps", "undo note"]


async def test_a_compensation_that_fails_is_parked_and_a_person_resolves_it(
    run: Run, script: Script, database: Database
) -> None:
    script.errors = {"pay": [Refused("no")], "undo ask": [OSError("down")] * 10}
    # No test waits for the pauses of ten attempts.
    row = await run()
    assert (row.status, row.direction) == ("parked", "backward")
    assert row.reason == "ask: OSError: down"
    async with database.transaction() as session:
        assert await operating.resolve(session, row.id, "by phone") == "ask"
    assert (await run()).status == "compensated"
    assert script.calls[-1] == "undo note"


async def test_a_result_of_another_type_is_a_mistake(
    run: Run, script: Script, order: Saga[Order], database: Database
) -> None:
    @order.local(undo=Undo.NOTHING)
    async def wrong(session: WriteSession, call: StepCall[Order]) -> int:
        return "text"  # type: ignore[return-value]

    row = await run()
    assert row.status == "parked"
    assert row.reason == "wrong: TypeError: wrong does not return what its annotation says"
    async with database.transaction() as session:
        with pytest.raises(InvalidSaga, match="The result of wrong"):
            await operating.resolve(session, row.id, "", result="text")
    async with database.transaction() as session:
        await operating.resolve(session, row.id, "", result=3)
    assert (await run()).status == "completed"


async def test_two_versions_drain_side_by_side(
    script: Script, order: Saga[Order], database: Database
) -> None:
    newer = Script()
    later = declare(newer, 2)
    async with database.transaction() as session:
        await order.start(session, Order(), key="old")
        await later.start(session, Order(), key="new")
    async with working(database):
        await ended(database)
    assert script.calls == newer.calls == ["note", "ask", "pay", "tell"]


async def test_a_step_that_the_code_has_lost_parks_the_saga(
    run: Run, script: Script, order: Saga[Order], database: Database
) -> None:
    script.errors = {"ask": [TypeError()]}
    row = await run()
    del order.steps[0]
    async with database.transaction() as session:
        await operating.retry(session, row.id)
    row = await run()
    assert row.status == "parked"
    assert row.reason == "The code has no step note; declare a new version."


async def test_a_key_starts_one_saga(order: Saga[Order], database: Database) -> None:
    async with database.transaction() as session:
        first = await order.start(session, Order(), key="one")
        assert await order.start(session, Order(), key="one") == first
        with pytest.raises(KeyReused):
            await order.start(session, Order(price=Decimal(2)), key="one")
    async with database.read_only() as session:
        assert await session.scalar(select(func.count()).select_from(SagaRow)) == 1


async def test_nothing_starts_when_the_transaction_is_rolled_back(
    order: Saga[Order], database: Database
) -> None:
    with pytest.raises(ZeroDivisionError):
        await _start_and_fail(order, database)
    async with database.read_only() as session:
        assert await session.scalar(select(func.count()).select_from(SagaRow)) == 0


async def _start_and_fail(order: Saga[Order], database: Database) -> None:
    async with database.transaction() as session:
        await order.start(session, Order(), key="one")
        raise ZeroDivisionError


async def test_an_unknown_outcome_is_left_alone_for_as_long_as_declared(
    script: Script, database: Database
) -> None:
    saga = Saga("tests.slow", Order)

    async def cancel(call: UndoCall[Order]) -> None:
        script.play("cancel")

    @saga.remote(undo=cancel, attempts=1, undo_after=3600)
    async def ask(call: StepCall[Order]) -> None:
        raise OSError

    async with database.transaction() as session:
        saga_id = await saga.start(session, Order(), key="one")
    async with working(database):
        for _ in range(1000):
            async with database.read_only() as reading:
                row = await operating.saga(reading, saga_id)
            if row.direction == "backward":
                break
    assert row.status == "active"
    assert (row.due_at - row.updated_at).total_seconds() == pytest.approx(3600)
    assert script.calls == []


def test_a_local_step_that_ends_its_workers_is_parked(order: Saga[Order]) -> None:
    """As one that takes all memory: each worker that takes the saga dies, and says nothing."""
    now = datetime.now(UTC)
    row = SagaRow(
        id=uuid4(),
        name=order.name,
        version=order.version,
        arguments={},
        status="active",
        direction="forward",
        attempts=0,
        due_at=now,
        steps=[],
    )
    hops = [machine.plan(order, row, now) for _ in range(4)]
    assert [hop and hop.call.attempt for hop in hops] == [1, 2, 3, None]
    assert row.status == "parked"
    assert "did not end" in str(row.reason)
