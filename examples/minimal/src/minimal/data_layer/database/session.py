"""The explicit boundary of a transaction, and what happens when it can't be kept."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self, TypeVar

import psycopg
import stamina
from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from .. import tracing
from ..errors import DataLayerError
from ..settings import load
from .engine import create_engine
from .errors import (
    DatabaseUnreachable,
    LimitExceeded,
    LockTimeout,
    PoolExhausted,
    StatementTimeout,
    TransactionAborted,
    TransactionConflict,
    Violation,
    as_violation,
    reason_of,
    sqlstate,
    violation_of,
)
from .settings import DatabaseSettings, address_of

Effect = Callable[[], Awaitable[object]]
Result = TypeVar("Result")
SessionType = TypeVar("SessionType", bound="ReadSession")

logger = logging.getLogger(__name__)

# The event loop alone does not keep a task alive that nobody waits for any more.
_running: set[asyncio.Task[None]] = set()

# stamina warns of every retry. An application that configures logging sees the warning; one that
# doesn't must not find it on its stderr.
logging.getLogger("stamina").addHandler(logging.NullHandler())


class ReadSession(AsyncSession):
    """A session that a function takes when it only reads; a `WriteSession` is one too."""


class WriteSession(ReadSession):
    """A session that a function takes when it writes."""

    def after_commit(self, effect: Effect, *, or_unknown: bool = False) -> None:
        """Run `effect` once this transaction is committed and its connection is back in the pool.

        It never runs after a rollback. Effects run one after the other, before the block of the
        transaction ends; they run to their end even when the caller is cancelled. Since the
        transaction can't be undone any more, an error of an effect is logged and not raised.

        Args:
            effect: called without arguments, for example to drop cached values.
            or_unknown: run it also when COMMIT was interrupted, by a broken connection or a
                cancellation, so that nobody knows whether the transaction took effect; for effects
                that do no harm when it didn't.
        """
        self.info.setdefault("after_commit", []).append((effect, or_unknown))


class Database:
    """The one door to the database: every session comes from here, within a transaction.

    Serves DL-ORM-01 (async sessions only), DL-TX-01 (explicit boundaries), DL-TX-02 and DL-TX-03
    (isolation).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._engines: dict[tuple[tuple[str, Any], ...], AsyncEngine] = {(): engine}
        event.listen(engine.sync_engine, "handle_error", as_violation)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: DatabaseSettings | None = None) -> AsyncIterator[Self]:
        """A database that is disposed of at the end; `settings` default to the environment's.

        Raises:
            InvalidSettings: a setting is missing or wrong.
        """
        database = cls(create_engine(settings or load(DatabaseSettings)))
        try:
            yield database
        finally:
            await database.dispose()

    async def dispose(self) -> None:
        """Close every connection that is not in use."""
        await self.engine.dispose()

    def transaction(self) -> AbstractAsyncContextManager[WriteSession]:
        """A READ COMMITTED transaction: committed at the end, rolled back by any error.

        Objects stay usable after the commit.

        Raises:
            PoolExhausted: no connection came free in time.
            DatabaseUnreachable: no connection could be made, or it broke.
            StatementTimeout: a statement ran too long.
            LockTimeout: a lock did not come free in time.
            LimitExceeded: a statement would touch more than the server allows.
            Violation: a row breaks a constraint, or a value does not fit its column.
            TransactionAborted: an error of the server was caught within the block, outside of a
                savepoint.
        """
        return self._session(WriteSession)

    def read_only(self, *, snapshot: bool = False) -> AbstractAsyncContextManager[ReadSession]:
        """A transaction in which the server refuses every write (SQLSTATE 25006).

        Args:
            snapshot: all statements see the database as the first one did (REPEATABLE READ).
                Without it, each statement sees the database at its own moment.

        Raises:
            The same errors as `transaction`.
        """
        options: dict[str, Any] = {"postgresql_readonly": True}
        if snapshot:
            options["isolation_level"] = "REPEATABLE READ"
        return self._session(ReadSession, **options)

    async def serializable(
        self,
        work: Callable[[WriteSession], Awaitable[Result]],
        *,
        attempts: int = 5,
        timeout: float = 30.0,  # noqa: ASYNC109 (it cancels nothing, it only stops retrying)
    ) -> Result:
        """Run `work` in a SERIALIZABLE transaction, again and again while it collides with others.

        Each attempt has a new session. `work` must change nothing outside the database, since
        it may run several times. The pause between two attempts grows, with jitter.

        Args:
            work: is given the session; its result is returned.
            attempts: how often `work` is run at most.
            timeout: seconds after which no further attempt begins.

        Raises:
            TransactionConflict: each attempt ended in a serialization failure or a deadlock.
            And the same errors as `transaction`.
        """

        async def serializable_transaction() -> Result:
            async with self._session(WriteSession, isolation_level="SERIALIZABLE") as session:
                return await work(session)

        retrying = stamina.retry(
            on=_collided,
            attempts=attempts,
            timeout=timeout,
            wait_initial=0.02,
            wait_max=2.0,
            wait_jitter=0.2,
        )
        try:
            return await retrying(serializable_transaction)()
        except (DBAPIError, psycopg.Error) as error:
            if not _collided(error):
                raise
            raise TransactionConflict(
                "A serializable transaction collided with others on each of its attempts "
                f"({attempts} at most, within {timeout:g} s), and nothing of it was written; "
                "try again later, or let it touch fewer rows."
            ) from error

    @asynccontextmanager
    async def _session(
        self, session_class: type[SessionType], **options: Any
    ) -> AsyncIterator[SessionType]:
        committing = False
        session = session_class(self._engine_with(**options), expire_on_commit=False)
        with tracing.part("transaction"):
            try:
                connection = await self._connect(session)
                driver = _driver_of(connection)
                try:
                    yield session
                    if session.new or session.dirty or session.deleted:
                        await session.flush()
                    if (
                        driver is not None
                        and driver.info.transaction_status == TransactionStatus.INERROR
                    ):
                        # The server would answer COMMIT with a silent ROLLBACK.
                        raise TransactionAborted(
                            "A statement failed within the transaction and its error did not leave "
                            "the block, so nothing of it was written; let the error pass, or put "
                            "the statement into `async with session.begin_nested()`."
                        )
                    committing = True
                    await session.commit()
                except (SQLAlchemyError, psycopg.Error, Violation) as error:
                    if driver is not None and driver.closed:
                        await session.invalidate()
                        if committing:
                            await _run_effects(session, unknown=True)
                        raise self._unreachable(error, committing=committing) from error
                    if timeout := _timeout(error):
                        raise timeout from error
                    # SQLAlchemy's errors are translated already; this one is of a driver's cursor.
                    if violation := violation_of(error):
                        raise violation from error
                    raise
                except BaseException:
                    # A rollback that fails must not hide the error that made it necessary.
                    try:
                        await session.rollback()
                    except SQLAlchemyError:
                        await session.invalidate()
                    if committing:
                        await _run_effects(session, unknown=True)
                    raise
            finally:
                await _close(session)
        await _run_effects(session)

    def _engine_with(self, **options: Any) -> AsyncEngine:
        """The engine, or an engine on the same pool whose transactions all have these options."""
        key = tuple(sorted(options.items()))
        if key not in self._engines:
            # Kept, since making an engine costs as much as a query.
            self._engines[key] = self.engine.execution_options(**options)
        return self._engines[key]

    async def _connect(self, session: AsyncSession) -> AsyncConnection:
        try:
            return await session.connection()
        except NoFreeConnection as error:
            raise PoolExhausted(
                f"All connections of the pool to {address_of(self.engine.url)} are in use and "
                "none came free in time; shorten the transactions, or raise "
                "DATABASE_POOL_SIZE, DATABASE_MAX_OVERFLOW or DATABASE_POOL_TIMEOUT."
            ) from error
        except DBAPIError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception, *, committing: bool = False) -> DatabaseUnreachable:
        outcome = (
            " The connection broke during COMMIT: look whether the transaction took effect "
            "before you repeat it."
            if committing
            else ""
        )
        return DatabaseUnreachable(
            f"The database {address_of(self.engine.url)} can't be reached ({reason_of(error)}); "
            f"start the server, or correct DATABASE_URL and DATABASE_PASSWORD.{outcome}"
        )


async def _close(session: AsyncSession) -> None:
    if session.in_transaction():
        # Closes to the end even when the caller is cancelled, as SQLAlchemy's own block does.
        await asyncio.shield(asyncio.create_task(session.close()))
    else:
        # A task costs as much as a small query, and nothing is left to wait for here.
        session.sync_session.close()


def _driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection[Any] | None:
    # get_raw_connection would cost a switch of greenlets, and the driver is there already.
    pooled = connection.sync_connection.connection if connection.sync_connection else None
    driver: psycopg.AsyncConnection[Any] | None = pooled.driver_connection if pooled else None
    return driver


async def _run_effects(session: ReadSession, *, unknown: bool = False) -> None:
    registered: list[tuple[Effect, bool]] = session.info.pop("after_commit", [])
    effects = [effect for effect, or_unknown in registered if or_unknown or not unknown]
    if not effects:
        return

    async def run() -> None:
        for effect in effects:
            try:
                await effect()
            except Exception:
                logger.exception("an effect after a commit failed; the transaction stands")

    task = asyncio.create_task(run())
    _running.add(task)
    task.add_done_callback(_running.discard)
    await asyncio.shield(task)


def _collided(error: Exception) -> bool:
    return sqlstate(error) in {"40001", "40P01"}  # serialization_failure, deadlock_detected


def _timeout(error: Exception) -> DataLayerError | None:
    match sqlstate(error):
        case "57014":  # query_canceled
            return StatementTimeout(
                "A statement was stopped by the server, and nothing of its transaction was "
                "written; make it touch less, or raise DATABASE_STATEMENT_TIMEOUT."
            )
        case "55P03":  # lock_not_available
            return LockTimeout(
                "A lock did not come free in time, and nothing of the transaction was written; "
                "try again, shorten the transactions that hold it, or raise DATABASE_LOCK_TIMEOUT."
            )
        case "53400":  # configuration_limit_exceeded
            cause = error.orig if isinstance(error, DBAPIError) else error
            limit = cause.diag.message_primary if isinstance(cause, psycopg.Error) else ""
            return LimitExceeded(
                f"A statement exceeds a limit of the server ({limit}), and nothing of its "
                "transaction was written; let it touch less, in a table that is partitioned by "
                "time with bounds of the time as values, or raise that limit."
            )
    return None
