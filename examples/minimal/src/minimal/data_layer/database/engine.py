"""The async engine: the pool, the timeouts that the server enforces, and moments in UTC."""

import math
import re
import select
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from psycopg.adapt import Dumper, PyFormat
from psycopg.types.datetime import DatetimeBinaryDumper, DatetimeDumper
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .. import tracing
from .errors import Violation
from .settings import DatabaseSettings


def create_engine(
    settings: DatabaseSettings, *, application_name: str | None = None
) -> AsyncEngine:
    """Make an engine; nothing connects before it is first used.

    Sessions are in UTC. A `datetime` without a time zone is refused (`Violation`), since the
    server would read it in the time zone of the session. Serves DL-PG-02 (limits of the pool),
    DL-PG-03 (timeouts) and DL-TX-02 (READ COMMITTED).

    Args:
        settings: where to connect, and the limits.
        application_name: what `pg_stat_activity` shows, instead of the name in the settings.
    """
    url = settings.sqlalchemy_url()
    parameters = {
        "timezone": "UTC",
        "statement_timeout": _milliseconds(settings.statement_timeout),
        "lock_timeout": _milliseconds(settings.lock_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(settings.idle_in_transaction_timeout),
    }
    connect_args: dict[str, Any] = {
        "application_name": application_name or settings.application_name,
        "connect_timeout": settings.connect_timeout,
    }
    connect_args = {name: connect_args[name] for name in connect_args.keys() - url.query.keys()}
    if settings.transaction_pooler:
        # The next transaction may get another server connection, which knows neither the prepared
        # statements nor the startup options of this one.
        connect_args["prepare_threshold"] = None
    else:
        options = " ".join(f"-c {name}={value}" for name, value in parameters.items())
        connect_args["options"] = f"{options} {url.query.get('options', '')}".strip()

    engine = create_async_engine(
        url,
        connect_args=connect_args,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        pool_size=settings.pool_size,
        max_overflow=settings.max_overflow,
        pool_timeout=settings.pool_timeout,
        pool_recycle=settings.pool_recycle or -1,
    )
    if settings.pool_pre_ping:
        _ping_when_in_doubt(engine)
    event.listen(engine.sync_engine, "connect", _want_time_zones)
    if tracing.is_on():
        _trace(engine)
    if settings.transaction_pooler:
        configs = (f"set_config('{name}', '{value}', true)" for name, value in parameters.items())
        set_local = text(f"SELECT {', '.join(configs)}")

        def set_parameters(connection: Connection) -> None:
            connection.execute(set_local)

        event.listen(engine.sync_engine, "begin", set_parameters)
    return engine


# A connection that lay in the pool for more seconds than this is pinged before it is used.
_BELIEVED = 1.0


def _ping_when_in_doubt(engine: AsyncEngine) -> None:
    """Ping a connection that leaves the pool, if it lay there for a while or the server spoke.

    A ping is a round trip and costs as much as a small query. A server that stops sends a message
    or closes the socket; the client sees that at once and for free. A network that drops packets
    does neither.
    """
    dialect = engine.sync_engine.dialect

    def note_the_time(_: object, record: Any) -> None:
        record.info["returned"] = time.monotonic()

    def ping(connection: Any, record: Any, _: object) -> None:
        returned = record.info.get("returned")
        if returned is None:  # the connection is new
            return
        try:
            if time.monotonic() - returned > _BELIEVED or _spoke(connection.driver_connection):
                dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", note_the_time)
    event.listen(engine.sync_engine, "checkout", ping)


def _spoke(connection: Any) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


# The first word outside of comments; and as many characters as tell which statement it is.
_VERB = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*(\w+)", re.DOTALL)
_LONGEST_TEXT = 2000


def _trace(engine: AsyncEngine) -> None:
    """Make a span of each statement, with its text as it was written: without its parameters."""
    dialect = engine.sync_engine.dialect

    def traced(run: Callable[..., None]) -> Callable[..., bool]:
        def execute(cursor: Any, statement: str, *arguments: Any) -> bool:
            verb = _VERB.match(statement)
            about = {"db.system.name": "postgresql", "db.query.text": statement[:_LONGEST_TEXT]}
            with tracing.part(verb[1].upper() if verb else "statement", about, kind="CLIENT"):
                run(cursor, statement, *arguments)
            return True  # the statement has run: SQLAlchemy must not run it again

        return execute

    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        event.listen(engine.sync_engine, name, traced(getattr(dialect, name)))


class _Moment(DatetimeDumper):
    def upgrade(self, obj: datetime, format: PyFormat) -> Dumper:  # noqa: A002 (psycopg's name)
        return _with_time_zone(self, obj)


class _BinaryMoment(DatetimeBinaryDumper):
    def upgrade(self, obj: datetime, format: PyFormat) -> Dumper:  # noqa: A002 (psycopg's name)
        return _with_time_zone(self, obj)


def _with_time_zone(dumper: Dumper, moment: datetime) -> Dumper:
    if moment.tzinfo is None:
        raise Violation(
            "A datetime has no time zone, so nobody knows which moment it is; add one, as in "
            "datetime.now(UTC).",
            kind="value",
        )
    return dumper


def _want_time_zones(connection: Any, _: object) -> None:
    for dumper in (_Moment, _BinaryMoment):
        connection.driver_connection.adapters.register_dumper(datetime, dumper)


def _milliseconds(seconds: float) -> int:
    # Rounded up: to the server 0 is no limit, so 0.4 ms must not become 0.
    return math.ceil(seconds * 1000)
