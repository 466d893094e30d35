"""Sending jobs, asking for their results, and looking at what waits and what died."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from taskiq import AsyncTaskiqTask, SendTaskError
from taskiq.kicker import AsyncKicker

from ... import logs, tracing
from ...settings import InvalidSettings, load
from ..connection import connect
from ..errors import QueueError, QueueUnreachable
from ..jsonable import jsonable
from ..keys import ENTRY_ID
from ..settings import QueueSettings, RedisSettings
from .broker import TROUBLE, StreamBroker
from .outcomes import REQUEST_ID, Outcomes, Results
from .tasks import P, R, Task

Job = AsyncTaskiqTask
"""A job that was sent: `task_id`, `is_ready()`, `wait_result(timeout=…)`."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """How much there is to do.

    Attributes:
        jobs: jobs that wait or run.
        running: jobs that a worker has taken and not done yet.
        delayed: jobs that wait for their time.
        dead: dead letters.
        workers: workers that Redis has heard of within the last hour.
        oldest: for how many seconds the oldest job has waited or run; 0 without one.
    """

    jobs: int
    running: int
    delayed: int
    dead: int
    workers: int
    oldest: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that is not tried again until a person puts it back."""

    id: str
    task: str
    arguments: str
    reason: str
    died_at: datetime


class Queue:
    """The task queue; needs a running worker to get anything done.

    Every method but `open` raises `QueueUnreachable` while its server does not answer.
    """

    def __init__(self, broker: StreamBroker) -> None:
        self.broker = broker

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: RedisSettings | None = None, queue: QueueSettings | None = None
    ) -> AsyncIterator[Self]:
        """The queue, closed at the end; settings default to the environment's.

        It opens while the server is down, too.

        Raises:
            InvalidSettings: a setting is missing or wrong.
        """
        redis, chosen = settings or load(RedisSettings), queue or load(QueueSettings)
        address = redis.queue_address()
        if address is None:
            raise InvalidSettings(
                "REDIS_QUEUE_URL is not set; put it into .env or the environment. The queue needs "
                "a server of its own, since the cache's evicts what it has no room for."
            )
        # A worker waits for jobs longer than anybody waits for the cache. Besides those for sending
        # and asking, it needs a connection for each job, one to listen and one for heartbeats.
        size = redis.pool_size + chosen.concurrency + 2
        patient = redis.model_copy(update={"timeout": chosen.timeout, "pool_size": size})
        # Beyond its size, the pool of a cluster or of sentinels refuses instead of letting wait.
        places = asyncio.Semaphore(redis.pool_size)
        async with connect(patient, address) as client:
            broker = StreamBroker(client, chosen, redis.service, places)
            broker.add_middlewares(Outcomes(broker))
            broker.with_result_backend(Results(broker))
            yield cls(broker)

    async def send(self, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Have a worker run the task; returns when Redis has the job.

        The arguments travel as JSON: numbers, text, dates, pydantic models; no rows, no sessions.
        If the job depends on a transaction, send it after the commit.

        Raises:
            NotJson: JSON can't hold an argument; the message names it. The job was not sent.
            QueueFull, JobTooLarge: the queue did not take the job.
            QueueUnreachable: the queue may have taken the job or not; `task.once(…)` makes
                repeating safe.
        """
        given = inspect.signature(task.function).bind(*args, **kwargs)
        for name, value in given.arguments.items():
            given.arguments[name] = jsonable(value, f"The argument {name} of {task.name}")
        labels: dict[str, Any] = dict(task.labels)
        if identifier := logs.request_id():
            labels[REQUEST_ID] = identifier
        with tracing.part(f"send {task.name}", kind="PRODUCER"):
            kicker: AsyncKicker[..., R] = AsyncKicker(
                task.name, self.broker, labels | tracing.carried()
            )
            try:
                return await kicker.with_task_id(task.job_id).kiq(*given.args, **given.kwargs)
            except SendTaskError as error:
                if isinstance(error.__cause__, QueueError):
                    raise error.__cause__ from error.__cause__.__cause__
                raise

    async def state(self) -> QueueState:
        """What is in the queue now."""
        with _reached():
            jobs, running, delayed, dead, workers, oldest = await self.broker.inspect()
        return QueueState(jobs, running, delayed, dead, workers, oldest / 1000)

    async def dead_letters(self, *, limit: int = 100) -> list[DeadLetter]:
        """The dead letters, newest first."""
        with _reached():
            entries: Any = await self.broker.client.xrevrange(self.broker.dead, count=limit)
        return [self._letter(identifier, fields) for identifier, fields in entries]

    async def retry(self, identifier: str) -> bool:
        """Put a dead letter back into the queue, with all its attempts; False when it is gone."""
        if not ENTRY_ID.fullmatch(identifier):
            return False
        broker = self.broker
        with _reached():
            entries: Any = await broker.client.xrange(broker.dead, identifier, identifier)
            if not entries:
                return False
            message = broker.formatter.loads(entries[0][1][b"job"])
            for label in ("attempt", "delay", "once"):
                message.labels.pop(label, None)
                (message.labels_types or {}).pop(label, None)
            return await broker.requeue(entries[0][0], message)

    def _letter(self, identifier: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
        text = identifier.decode()
        died_at = datetime.fromtimestamp(int(text.partition("-")[0]) / 1000, UTC)
        try:
            message = self.broker.formatter.loads(fields[b"job"])
            task, arguments = message.task_name, f"{message.args} {message.kwargs}"
        except ValueError:
            task, arguments = "?", "can't be read"
        return DeadLetter(text, task, arguments, fields[b"reason"].decode(), died_at)


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except TROUBLE as error:
        raise QueueUnreachable(
            f"The queue does not answer ({type(error).__name__}); see REDIS_QUEUE_URL, and whether "
            "its server runs."
        ) from error
