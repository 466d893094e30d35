"""The worker: takes sagas that are due, and brings them on step by step.

A worker that claims a saga counts its epoch up. It locks the row under its own epoch in every
transaction in which it writes, so that records and local writes are fenced. A remote call can't be
fenced: it carries the same key, and if it ends after the lease was lost, it reopens the
compensation.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select, tuple_, update
from sqlalchemy.orm import selectinload

from .. import logs, tracing
from ..database import Database, DatabaseUnreachable, PoolExhausted, WriteSession
from ..errors import DataLayerError
from ..settings import load
from . import machine
from .declarations import SAGAS, Saga
from .errors import LeaseLost, Refused, SagaError
from .machine import Hop
from .models import SagaRow
from .rows import hold, read, save
from .settings import SagaSettings
from .waking import Alarm, ring_at

logger = logging.getLogger(__name__)

# Nothing was decided: the saga is taken again once its lease has ended.
NO_DATABASE = (DatabaseUnreachable, PoolExhausted)


async def run_worker(
    database: Database, stop: asyncio.Event, settings: SagaSettings | None = None
) -> None:
    """Run the declared sagas until `stop` is set, then end the steps that run.

    Any number of workers may run, on any machine. They wait for a database that is down.

    Raises:
        SagaError: no saga is declared.
    """
    if not SAGAS:
        raise SagaError(
            "No saga is declared; name the modules that declare yours in __main__.py, as "
            "create_cli(declares=[…])."
        )
    await _Worker(database, settings or load(SagaSettings), stop).run()


@dataclass(slots=True)
class _Claim:
    """A saga that this worker has.

    Attributes:
        row: its committed state, in no session; nobody else writes it under this epoch.
        epoch: the epoch of the claim.
    """

    saga: Saga[Any]
    row: SagaRow
    epoch: int


class _Worker:
    def __init__(self, database: Database, settings: SagaSettings, stop: asyncio.Event) -> None:
        self._database = database
        self._settings = settings
        self._stop = stop
        self._lease = timedelta(seconds=settings.lease)
        self._alarm = Alarm()
        self._running: dict[asyncio.Task[None], _Claim] = {}

    async def run(self) -> None:
        beside = [self._say_alive(), ring_at(self._stop, self._alarm)]
        tasks = [asyncio.create_task(work) for work in beside]
        try:
            while not self._stop.is_set():
                try:
                    claims = await self._claim(self._settings.concurrency - len(self._running))
                except DataLayerError as error:
                    logger.warning("No saga can be taken: %s", error)
                    claims = []
                for claim, hop in claims:
                    task = asyncio.create_task(self._bring_on(claim, hop))
                    self._running[task] = claim
                    task.add_done_callback(self._ended)
                await self._alarm.wait(self._settings.poll)
        finally:
            await asyncio.gather(*self._running)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        # Claim in batches: a claim for each saga would cost a third of a worker's throughput.
        if 2 * len(self._running) <= self._settings.concurrency:
            self._alarm.ring()

    async def _claim(self, most: int) -> list[tuple[_Claim, Hop]]:
        if not most:
            return []
        due = (
            select(SagaRow, func.statement_timestamp())
            .where(
                SagaRow.status == "active",
                SagaRow.due_at <= func.statement_timestamp(),
                or_(*(and_(SagaRow.name == n, SagaRow.version == v) for n, v in SAGAS)),
            )
            .order_by(SagaRow.due_at)
            .limit(most)
            .with_for_update(skip_locked=True)
            .options(selectinload(SagaRow.steps))
        )
        claims, rows = [], []
        async with self._database.transaction() as session:
            found = (await session.execute(due)).all()
            session.expunge_all()
            for row, now in found:
                row.epoch += 1
                claim = _Claim(SAGAS[row.name, row.version], row, row.epoch)
                if hop := self._plan(claim, now):
                    claims.append((claim, hop))
                rows.append(row)
            await save(session, *rows)
        return claims

    def _plan(self, claim: _Claim, now: datetime) -> Hop | None:
        """What this worker does next with the saga; None if it lets the saga go."""
        row = claim.row
        hop = None if self._stop.is_set() else machine.plan(claim.saga, row, now)
        if hop is not None:
            row.due_at = now + self._lease
            return hop
        # A heartbeat that is under way must not overwrite the end of a pause.
        row.epoch += 1
        if row.status != "active":
            logger.info("Saga %s (%s) is %s.", row.id, row.name, row.status)
        return None

    @asynccontextmanager
    async def _fenced(
        self, claim: _Claim, *, afresh: bool = False
    ) -> AsyncIterator[tuple[WriteSession, datetime]]:
        """A transaction that holds the lease, and writes the row at its end.

        `afresh` reads the row again, after a failed transaction that changed it in memory.
        """
        async with self._database.transaction() as session:
            now = await hold(session, claim.row.id, claim.epoch)
            if now is None:
                raise LeaseLost
            if afresh:
                claim.row = await read(session, claim.row.id)
            yield session, now
            await save(session, claim.row)

    async def _bring_on(self, claim: _Claim, first: Hop) -> None:
        hop: Hop | None = first
        logs.begin(claim.row.request_id or str(claim.row.id))
        about = {"saga_id": str(claim.row.id)}
        try:
            with tracing.span(f"saga {claim.saga.name}", about, kind="CONSUMER"):
                while hop is not None:
                    do = self._do_local if hop.step.is_local else self._do_remote
                    hop = await do(claim, hop)
        except LeaseLost:
            logger.warning("Saga %s was taken over by another worker.", claim.row.id)
        except DataLayerError as error:
            logger.warning("Saga %s waits for the end of its lease: %s", claim.row.id, error)
        except Exception:
            logger.exception("Saga %s waits for the end of its lease.", claim.row.id)

    async def _do_local(self, claim: _Claim, hop: Hop) -> Hop | None:
        try:
            async with self._fenced(claim) as (session, now):
                machine.succeed(claim.row, hop, await hop.run(session), now)
                return self._plan(claim, now)
        except (LeaseLost, *NO_DATABASE):
            raise
        except Exception as error:
            return await self._fail(claim, hop, error)

    async def _do_remote(self, claim: _Claim, hop: Hop) -> Hop | None:
        failure: Exception | None = None
        try:
            result = await hop.run()
        except Exception as error:
            failure = error
        try:
            if failure is not None:
                return await self._fail(claim, hop, failure)
            return await self._record(claim, hop, result)
        except LeaseLost:
            if not isinstance(failure, Refused):
                await self._reopen(claim, hop)
            raise

    async def _record(self, claim: _Claim, hop: Hop, result: Any) -> Hop | None:
        """Write down what a remote call returned, in one transaction with a local step after it."""
        # Only in the first attempt: when a worker dies in the local step, the call is made again,
        # and from then on the attempts at the local step must be counted separately.
        is_first = claim.row.attempts == 1
        local: Hop | None = None
        try:
            async with self._fenced(claim) as (session, now):
                machine.succeed(claim.row, hop, result, now)
                after = self._plan(claim, now)
                if is_first and after is not None and after.step.is_local:
                    local = after
                    machine.succeed(claim.row, local, await local.run(session), now)
                    after = self._plan(claim, now)
                return after
        except (LeaseLost, *NO_DATABASE):
            raise
        except Exception as error:
            if local is None:
                raise
            async with self._fenced(claim, afresh=True) as (_, now):
                machine.succeed(claim.row, hop, result, now)
                after = self._plan(claim, now)
            return after and await self._fail(claim, after, error)

    async def _fail(self, claim: _Claim, hop: Hop, error: Exception) -> Hop | None:
        # Without the error's text, which may quote a customer; `sagas show` has it.
        logger.warning("Saga %s: %s failed: %s", claim.row.id, hop.step.name, type(error).__name__)
        async with self._fenced(claim, afresh=True) as (_, now):
            machine.fail(claim.saga, claim.row, hop, error, now)
            return self._plan(claim, now)

    async def _reopen(self, claim: _Claim, hop: Hop) -> None:
        async with self._database.transaction() as session:
            now = await hold(session, claim.row.id)
            if now is None:
                return
            row = await read(session, claim.row.id)
            if machine.reopen(row, hop, now):
                logger.warning("Saga %s: a late %s is undone again.", row.id, hop.step.name)
                await save(session, row)

    async def _say_alive(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease / 3)
            held = [(claim.row.id, claim.epoch) for claim in self._running.values()]
            if not held:
                continue
            # Skip a row that is locked: a local step holds it, or another worker claims it.
            rows = select(SagaRow.id).where(
                SagaRow.status == "active", tuple_(SagaRow.id, SagaRow.epoch).in_(held)
            )
            longer = update(SagaRow).where(SagaRow.id.in_(rows.with_for_update(skip_locked=True)))
            with suppress(DataLayerError):
                async with self._database.transaction() as session:
                    await session.execute(
                        longer.values(due_at=func.statement_timestamp() + self._lease),
                        execution_options={"synchronize_session": False},
                    )
