"""The outbox: messages that are written in a transaction, and delivered if it commits.

A relay delivers each committed message at least once, and those with one key in the order in which
their transactions committed.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, TypeAlias

from sqlalchemy import delete, func, select, text, tuple_, update
from sqlalchemy.orm import aliased

from .. import logs, tracing
from ..database import Database, WriteSession
from ..errors import DataLayerError
from ..metrics import measured
from ..settings import load
from .declarations import check_key, check_name
from .errors import SagaError
from .models import OutboxRow, declare
from .settings import SagaSettings
from .waking import Alarm, ring_all, ring_at

logger = logging.getLogger(__name__)

ATTEMPTS = 10
LONGEST_PAUSE = 300.0
# Seconds. The server ends a transaction that is idle for long.
LONGEST_TRANSACTION = 5.0

# One statement: a writer that froze between two statements of a pipeline would keep keys locked.
_PUBLISH = text("""
    INSERT INTO outbox_messages (topic, key, payload, request_id)
    SELECT :topic, message ->> 0, message -> 1, CAST(:request_id AS text)
    FROM jsonb_array_elements(CAST(:messages AS jsonb)) WITH ORDINALITY AS given (message, place)
    ORDER BY place
""")

TOPICS: "dict[str, Topic]" = {}
"""The declared topics by name."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a relay delivers.

    Attributes:
        id: grows within a key, and is the same whenever the message is delivered again.
        topic: the name of its topic.
        key: messages with one key keep their order.
        payload: JSON.
        request_id: the id of the request that published it, if a request did.
    """

    id: int
    topic: str
    key: str
    payload: Any
    request_id: str | None = None


Deliver: TypeAlias = Callable[[Message], Awaitable[object]]
Target: TypeAlias = Callable[[], AbstractAsyncContextManager[Deliver]]
"""Opens what a relay needs to deliver, such as a connection, and yields the function that delivers.
If that function raises an error, the message is delivered again."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A declared kind of message; `__main__.py` names its module in `create_cli(declares=[…])`.

    Attributes:
        name: a lasting name, such as `market.fills`.
        to: where its messages go.

    Raises:
        InvalidSaga: the name is wrong or taken.
    """

    name: str
    to: Target

    def __post_init__(self) -> None:
        check_name("topic", self.name, taken=self.name in TOPICS)
        declare(OutboxRow)
        TOPICS[self.name] = self


def calling(deliver: Deliver) -> Target:
    """A target that calls this function for each message."""

    @asynccontextmanager
    async def target() -> AsyncIterator[Deliver]:
        yield deliver

    return target


async def publish(session: WriteSession, topic: Topic, *, key: str, payload: Any) -> None:
    """Let a relay deliver this message if the transaction commits.

    The transaction locks the key until it ends, so publish late in a transaction. Use `publish_all`
    for several keys.

    Args:
        session: the session of the transaction.
        topic: the kind of message.
        key: messages with one key are delivered in the order of their commits.
        payload: anything that JSON can hold.

    Raises:
        LockTimeout: another transaction held the key for too long.
        InvalidSaga: the key is empty or too long.
    """
    await publish_all(session, topic, [(key, payload)])


async def publish_all(
    session: WriteSession, topic: Topic, messages: Iterable[tuple[str, Any]]
) -> None:
    """Publish several messages, each a key and a payload, in this order, as `publish` does."""
    given = list(messages)
    if not given:
        return
    for key in sorted({key for key, _ in given}):
        check_key(topic.name, key)
        # A message gets its id at once and is committed later: without the lock it could overtake
        # an earlier one of its key. Keys are sorted, so that two writers never wait for each other.
        name = f"{topic.name}\n{key}"
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    parameters = {"topic": topic.name, "messages": json.dumps(given)}
    await session.execute(_PUBLISH, parameters | {"request_id": logs.request_id()})
    session.after_commit(ring_all)


async def run_relay(
    database: Database, stop: asyncio.Event, settings: SagaSettings | None = None
) -> None:
    """Deliver what is committed to the declared topics until `stop` is set.

    Any number of relays may run. A relay waits for a database that is down. A message that failed
    ten times, in some nine minutes, is parked, also while its target is down; its key then waits
    for a person.

    Raises:
        SagaError: no topic is declared.
    """
    if not TOPICS:
        raise SagaError(
            "No topic is declared; name the modules that declare yours in __main__.py, as "
            "create_cli(declares=[…])."
        )
    settings = settings or load(SagaSettings)
    alarm = Alarm()
    stopping = asyncio.create_task(ring_at(stop, alarm))
    try:
        async with AsyncExitStack() as stack:
            targets = {topic.to for topic in TOPICS.values()}
            opened = {to: await stack.enter_async_context(to()) for to in targets}
            deliver = {topic.name: opened[topic.to] for topic in TOPICS.values()}
            while not stop.is_set():
                try:
                    if await _relay(database, deliver, settings):
                        continue
                except DataLayerError as error:
                    logger.warning("Nothing can be delivered: %s", error)
                await alarm.wait(settings.poll)
    finally:
        stopping.cancel()


async def _relay(database: Database, deliver: dict[str, Deliver], settings: SagaSettings) -> bool:
    """Deliver some messages; False where none was due."""
    earlier = aliased(OutboxRow)
    # The lock on the first message of a key stands for the whole key: another relay skips that
    # message, and takes no later one for the first before this transaction has ended.
    heads = (
        select(OutboxRow.topic, OutboxRow.key)
        .where(
            OutboxRow.topic.in_(deliver),
            ~OutboxRow.parked,
            OutboxRow.due_at <= func.statement_timestamp(),
            ~select(earlier.id)
            .where(
                earlier.topic == OutboxRow.topic,
                earlier.key == OutboxRow.key,
                earlier.id < OutboxRow.id,
            )
            .exists(),
        )
        .order_by(OutboxRow.id)
        .limit(settings.batch)
        .with_for_update(skip_locked=True)
    )
    async with database.transaction() as session:
        keys = [(topic, key) for topic, key in await session.execute(heads)]
        if not keys:
            return False
        rows = await session.scalars(
            select(OutboxRow)
            .where(tuple_(OutboxRow.topic, OutboxRow.key).in_(keys), ~OutboxRow.parked)
            .order_by(OutboxRow.id)
            .limit(settings.batch)
        )
        delivered, held, until = [], set(), monotonic() + LONGEST_TRANSACTION
        for row in rows:
            if (row.topic, row.key) in held:
                continue
            if monotonic() > until:
                break
            message = Message(row.id, row.topic, row.key, row.payload, row.request_id)
            with logs.about(row.request_id or f"{row.topic} {row.id}"):
                try:
                    with (
                        tracing.span(f"deliver {row.topic}", kind="PRODUCER"),
                        measured("outbox_message", row.topic),
                    ):
                        async with asyncio.timeout(settings.delivery):
                            await deliver[row.topic](message)
                except Exception as error:
                    held.add((row.topic, row.key))
                    await _note_failure(session, row, error)
                else:
                    delivered.append(row.id)
        await session.execute(delete(OutboxRow).where(OutboxRow.id.in_(delivered)))
    return True


async def _note_failure(session: WriteSession, row: OutboxRow, error: Exception) -> None:
    logger.warning(
        "Message %s of %s was not delivered: %s", row.id, row.topic, type(error).__name__
    )
    attempts = row.attempts + 1
    pause = timedelta(seconds=min(2.0 ** (attempts - 1), LONGEST_PAUSE))
    reason = f"{type(error).__name__}: {error}".replace("\0", "")[:1000]
    await session.execute(
        update(OutboxRow)
        .where(OutboxRow.id == row.id)
        .values(
            attempts=attempts,
            parked=attempts >= ATTEMPTS,
            reason=reason,
            due_at=func.statement_timestamp() + pause,
        )
    )
