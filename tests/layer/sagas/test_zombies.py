"""Workers that freeze past their lease, lose their connections, and stop."""

import asyncio
import os
import signal
from contextlib import ExitStack, suppress

import psutil
import pytest
from sqlalchemy import func, select, text, update

from my_project.data_layer.sagas import SagaSettings
from my_project.data_layer.sagas.models import SagaRow

from .conftest import Bank
from .workers import SETTINGS, ended, eventually, is_idle, process, working


async def frozen(desk: Bank) -> int:
    async def is_frozen() -> bool:
        return any(
            psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in desk.did("freeze")
        )

    await eventually(is_frozen)
    return desk.did("freeze")[0]


def thaw(desk: Bank) -> None:
    for pid in desk.did("freeze"):
        with suppress(ProcessLookupError):  # it has died since
            os.kill(pid, signal.SIGCONT)


@pytest.mark.standard("DL-SA-12")
@pytest.mark.parametrize("remembers", [False, True])
async def test_a_call_that_wakes_after_the_compensation_is_undone(
    desk: Bank, remembers: bool
) -> None:
    desk.exchange.remembers = remembers
    desk.order("freeze", "book begin")
    with process(desk.database):
        await desk.start()
        pid = await frozen(desk)
        desk.exchange.behaviours["book"].extend(["fail"] * 3)
        async with working(desk.database):
            await ended(desk.database)
            assert await desk.judge() == "compensated"
            calls = desk.exchange.calls["cancel"]
            os.kill(pid, signal.SIGCONT)

            async def woke() -> bool:
                cancelled = desk.exchange.calls["cancel"] > calls
                return desk.exchange.calls["book"] == 4 and (remembers or cancelled)

            await eventually(woke)
            await ended(desk.database)
    assert await desk.judge() == "compensated"


@pytest.mark.standard("DL-SA-12")
async def test_a_frozen_worker_writes_nothing_once_another_has_the_saga(desk: Bank) -> None:
    desk.order("freeze", "clear end")
    with process(desk.database):
        await desk.start()
        pid = await frozen(desk)
        async with working(desk.database):
            await ended(desk.database)
        before = await desk.saga()
        os.kill(pid, signal.SIGCONT)
    assert await desk.judge() == "completed"
    after = await desk.saga()
    assert (after.epoch, after.due_at) == (before.epoch, before.due_at)


async def test_a_worker_that_freezes_within_a_transaction_is_cut_off(desk: Bank) -> None:
    desk.order("freeze", "reserve end")
    with process(desk.database, idle_in_transaction_timeout=1):
        await desk.start()
        pid = await frozen(desk)
        async with working(desk.database):
            await ended(desk.database)
            os.kill(pid, signal.SIGCONT)
    assert await desk.judge() == "completed"


async def test_a_saga_whose_worker_lives_is_left_to_it(desk: Bank) -> None:
    desk.exchange.behaviours["book"].append("hang")
    async with working(desk.database):
        await desk.start()

        async def hangs() -> bool:
            return desk.exchange.calls["book"] == 1

        await eventually(hangs)
        epoch = (await desk.saga()).epoch
        async with working(desk.database):
            await asyncio.sleep(2 * SETTINGS.lease)
            assert (await desk.saga()).epoch == epoch
            desk.exchange.release.set()
            await ended(desk.database)
    assert desk.exchange.calls["book"] == 1
    assert await desk.judge() == "completed"


async def test_a_worker_that_stops_ends_its_step_and_leaves_the_rest_at_once(desk: Bank) -> None:
    desk.exchange.behaviours["book"].append("hang")
    async with working(desk.database):
        await desk.start()

        async def hangs() -> bool:
            return desk.exchange.calls["book"] == 1

        await eventually(hangs)
        asyncio.get_running_loop().call_later(0.2, desk.exchange.release.set)
    row = await desk.saga()
    assert row.status == "active"
    async with desk.database.read_only() as session:
        due = select(func.count()).where(SagaRow.due_at <= func.clock_timestamp())
        assert await session.scalar(due) == 1
    async with working(desk.database):
        await ended(desk.database)
    assert desk.exchange.calls["book"] == 1
    assert await desk.judge() == "completed"


@pytest.mark.standard("DL-SA-11")
async def test_many_sagas_survive_kills_freezes_and_cut_connections(desk: Bank) -> None:
    many = 30 * int(os.environ.get("SAGA_RUNS", "1"))
    for path in ("book", "clear", "cancel"):
        told = ["accept", "fail after", "forget", "accept", "fail", "accept", "lose"]
        desk.exchange.behaviours[path].extend(told * (many // 15 + 1))
    for account in range(many):
        # Every fifth has not enough cash, and is refused by the database.
        await desk.start(account, amount=100_000 if account % 5 == 0 else 100)
    for order in ("die book end", "die settle commit", "freeze clear end", "freeze book begin"):
        (desk.folder / order).touch()
    with ExitStack() as stack:
        for _ in range(5):  # four of them die or freeze, perhaps within the transaction of a saga
            stack.enter_context(process(desk.database))
        for _ in range(5):
            await asyncio.sleep(0.2)
            async with desk.database.transaction() as session:
                await session.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                        " pg_backend_pid() AND datname = current_database()"
                        " AND query ILIKE '%sagas%'"
                    )
                )
        # Long enough that others take over what the frozen ones had, whose late calls come then.
        await asyncio.sleep(3 * SETTINGS.lease)

        async def is_idle_once_all_go_on() -> bool:
            thaw(desk)
            return await is_idle(desk.database)

        await eventually(is_idle_once_all_go_on)
        await asyncio.sleep(SETTINGS.lease)
        await ended(desk.database)
    live = sum([(await desk.saga(account)).status == "completed" for account in range(many)])
    assert live
    for account in range(many):
        status = (await desk.saga(account)).status
        await desk.judge(account, live=live + (status != "completed"))
        if account % 5 == 0:
            assert status == "compensated"


async def test_a_saga_of_an_unknown_version_is_left_alone(desk: Bank) -> None:
    await desk.start(1)
    await desk.start(2)
    async with desk.database.transaction() as session:
        newer = update(SagaRow).where(SagaRow.key == "1").values(version=2)
        await session.execute(newer)

    async def only_one_is_active() -> bool:
        return (await desk.saga(2)).status != "active"

    async with working(desk.database):
        await eventually(only_one_is_active)
    row = await desk.saga(1)
    assert (row.status, row.epoch) == ("active", 0)
    async with desk.database.transaction() as session:
        await session.execute(update(SagaRow).values(version=1))
    async with working(desk.database):
        await ended(desk.database)
    assert await desk.judge(1, live=2) == "completed"


async def test_a_commit_wakes_the_worker_of_this_process(desk: Bank) -> None:
    slow = SagaSettings(_env_file=None, poll=60.0)
    async with working(desk.database, settings=slow):
        await asyncio.sleep(0.1)
        await desk.start()
        await ended(desk.database)
    assert await desk.judge() == "completed"
