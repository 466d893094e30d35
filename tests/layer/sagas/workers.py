"""Workers and relays in processes of their own, forked from one that has imported everything."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy import func, select, update

from my_project.data_layer.database import Database, DatabaseSettings
from my_project.data_layer.sagas import SagaSettings, run_relay, run_worker
from my_project.data_layer.sagas.models import SagaRow
from tests.layer import PATIENCE

from . import bank
from .conftest import Bank

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([bank.__name__, __name__])

SETTINGS = SagaSettings(_env_file=None, lease=1.0, poll=0.1, concurrency=4)
# A worker that a busy machine lets wait keeps its sagas; that of a dead one `dies` ends.
PATIENT = SETTINGS.model_copy(update={"lease": 600.0})

Work = Callable[[Database, asyncio.Event, SagaSettings], Coroutine[Any, Any, None]]


@contextmanager
def process(
    database: Database,
    work: Work = run_worker,
    settings: SagaSettings = SETTINGS,
    **changes: Any,
) -> Iterator[BaseProcess]:
    """Another process that works until the block ends, if it lives so long."""
    url = database.engine.url.render_as_string(hide_password=False)
    started = CONTEXT.Process(target=_serve, args=(url, work.__name__, settings, changes))
    started.start()
    try:
        yield started
    finally:
        if started.is_alive() and started.pid:
            with suppress(ProcessLookupError):  # it has died since
                os.kill(started.pid, signal.SIGCONT)
        started.terminate()
        started.join(PATIENCE)
        assert not started.is_alive()


def _serve(url: str, name: str, saga_settings: SagaSettings, changes: dict[str, Any]) -> None:
    work = {"run_worker": run_worker, "run_relay": run_relay}[name]

    async def serve() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        settings = DatabaseSettings(
            _env_file=None,
            url=url.replace("postgresql+psycopg", "postgresql"),
            pool_timeout=60,
            **changes,
        )
        async with Database.open(settings) as database:
            await work(database, stop, saga_settings)

    asyncio.run(serve())


@asynccontextmanager
async def working(
    database: Database, work: Work = run_worker, settings: SagaSettings = SETTINGS
) -> AsyncIterator[None]:
    """Work within this process while the block lasts."""
    stop = asyncio.Event()
    task = asyncio.create_task(work(database, stop, settings))
    try:
        yield
    finally:
        stop.set()
        await task


async def eventually(question: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(PATIENCE):
        while not await question():
            await asyncio.sleep(0.02)


async def dies(desk: Bank, worker: BaseProcess) -> None:
    """Wait until the worker has died, and end its leases."""

    async def died() -> bool:
        return worker.pid in desk.did("die")

    await eventually(died)
    worker.join(PATIENCE)
    assert worker.exitcode == -9
    active = update(SagaRow).where(SagaRow.status == "active")
    async with desk.database.transaction() as session:
        await session.execute(active.values(due_at=func.statement_timestamp()))


async def is_idle(database: Database) -> bool:
    """Whether no saga is active."""
    async with database.read_only() as session:
        active = select(func.count()).where(SagaRow.status == "active")
        return not await session.scalar(active)


async def ended(database: Database) -> None:
    """Wait until no saga is active."""
    await eventually(lambda: is_idle(database))
