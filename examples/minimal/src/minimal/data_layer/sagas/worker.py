"""The worker: takes sagas that are due, and brings them on step by step.

Whoever claims a saga counts its epoch up. A worker locks the row under its own epoch in every
transaction in which it writes, so that records and local writes are fenced. A remote call can't
be: it carries the same key, and one that ends after the lease was lost reopens the compensation.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, tuple_, update
from sqlalchemy.orm import joinedload, selectinload

from ..database import Database, DatabaseUnreachable, PoolExhausted, WriteSession
from ..errors import DataLayerError
from ..settings import load
from . import machine
from .declarations import SAGAS, Saga
from .errors import LeaseLost, Refused, SagaError
from .machine import Hop
from .models import SagaRow
from .settings import SagaSettings
from .waking import Alarm, ring_at

logger = logging.getLogger(__name__)

# Nothing was decided: the saga is taken again once its lease has ended.
NO_DATABASE = (DatabaseUnreachable, PoolExhausted)


async def run_worker(
    database: Database, stop: asyncio.Event, settings: SagaSettings | None = None
) -> None:
    """Run the declared sagas until `stop` is set, then end the steps that run.

    Any number may run, on any machine. A database that is down is waited for.

    Raises:
        SagaError: no saga is declared.
    """
    if not SAGAS:
        raise SagaError(
            "No saga is declared; name the modules that declare yours in __main__.py, as "
            "create_cli(declares=[…])."
        )
    await _Worker(database, settings or load(SagaSettings), stop).run()


@dataclass(frozen=True, slots=True)
class _Claim:
    """A saga that this worker has, and what it does first."""

    saga: Saga[Any]
    id: UUID
    epoch: int
    hop: Hop


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
                for claim in claims:
                    task = asyncio.create_task(self._bring_on(claim))
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
        # In batches, since a claim for each saga would cost a third of what a worker gets done.
        if 2 * len(self._running) <= self._settings.concurrency:
            self._alarm.ring()

    async def _claim(self, most: int) -> list[_Claim]:
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
        claims = []
        async with self._database.transaction() as session:
            for row, now in (await session.execute(due)).all():
                saga = SAGAS[row.name, row.version]
                row.epoch += 1
                if hop := self._plan(saga, row, now):
                    claims.append(_Claim(saga, row.id, row.epoch, hop))
        return claims

    def _plan(self, saga: Saga[Any], row: SagaRow, now: datetime) -> Hop | None:
        """What this worker does next with it; None where it lets it go."""
        hop = None if self._stop.is_set() else machine.plan(saga, row, now)
        if hop is not None:
            row.due_at = now + self._lease
            return hop
        # A sign of life that is under way must not take the end of a pause for a lease.
        row.epoch += 1
        if row.status != "active":
            logger.info("Saga %s (%s) is %s.", row.id, row.name, row.status)
        return None

    @asynccontextmanager
    async def _fenced(self, claim: _Claim) -> AsyncIterator[tuple[WriteSession, SagaRow, datetime]]:
        async with self._database.transaction() as session:
            row, now = await _locked(session, claim.id)
            if row is None or now is None or row.epoch != claim.epoch:
                raise LeaseLost
            yield session, row, now

    async def _bring_on(self, claim: _Claim) -> None:
        hop: Hop | None = claim.hop
        try:
            while hop is not None:
                do = self._do_local if hop.step.is_local else self._do_remote
                hop = await do(claim, hop)
        except LeaseLost:
            logger.warning("Saga %s was taken over by another worker.", claim.id)
        except DataLayerError as error:
            logger.warning("Saga %s waits for the end of its lease: %s", claim.id, error)
        except Exception:
            logger.exception("Saga %s waits for the end of its lease.", claim.id)

    async def _do_local(self, claim: _Claim, hop: Hop) -> Hop | None:
        try:
            async with self._fenced(claim) as (session, row, now):
                machine.succeed(row, hop, await hop.run(session), now)
                return self._plan(claim.saga, row, now)
        except (LeaseLost, *NO_DATABASE):
            raise
        except Exception as error:
            return await self._fail(claim, hop, error)

    async def _do_remote(self, claim: _Claim, hop: Hop) -> Hop | None:
        failure: Exception | None = None
        try:
            async with asyncio.timeout(hop.step.timeout):
                result = await hop.run()
        except Exception as error:
            failure = error
        try:
            if failure is not None:
                return await self._fail(claim, hop, failure)
            async with self._fenced(claim) as (_, row, now):
                machine.succeed(row, hop, result, now)
                return self._plan(claim.saga, row, now)
        except LeaseLost:
            if not isinstance(failure, Refused):
                await self._reopen(claim, hop)
            raise

    async def _fail(self, claim: _Claim, hop: Hop, error: Exception) -> Hop | None:
        # Without the error's text, which may quote a customer; `sagas show` has it.
        logger.warning("Saga %s: %s failed: %s", claim.id, hop.step.name, type(error).__name__)
        async with self._fenced(claim) as (_, row, now):
            machine.fail(claim.saga, row, hop, error, now)
            return self._plan(claim.saga, row, now)

    async def _reopen(self, claim: _Claim, hop: Hop) -> None:
        async with self._database.transaction() as session:
            row, now = await _locked(session, claim.id)
            if row and now and machine.reopen(row, hop, now):
                logger.warning("Saga %s: a late %s is undone again.", claim.id, hop.step.name)

    async def _say_alive(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease / 3)
            held = [(claim.id, claim.epoch) for claim in self._running.values()]
            if not held:
                continue
            # A row that is locked is in good hands: a local step holds it, or somebody claims it.
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


async def _locked(
    session: WriteSession, saga_id: UUID
) -> tuple[SagaRow, datetime] | tuple[None, None]:
    found = await session.execute(
        select(SagaRow, func.statement_timestamp())
        .where(SagaRow.id == saga_id)
        .with_for_update(of=SagaRow)
        .options(joinedload(SagaRow.steps))
    )
    for row, now in found.unique():
        return row, now
    return None, None
