"""What becomes of a job that ran: its result is kept, it is tried again, or it is a dead letter."""

import asyncio
import logging
import random
from typing import Any

from taskiq import AsyncResultBackend, NoResultError, TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.exceptions import ResultGetError
from taskiq.kicker import AsyncKicker
from taskiq.serializers import JSONSerializer

from ..connection import Client
from ..jsonable import NotJson, jsonable
from .broker import QueueKeys, StreamBroker

logger = logging.getLogger(__name__)

LONGEST_BACKOFF = 3600.0


class Results(AsyncResultBackend[Any]):
    """One key with a time to live for each job; JSON, so that reading one runs no code."""

    def __init__(
        self, client: Client, keys: QueueKeys, places: asyncio.Semaphore, *, ttl: int
    ) -> None:
        self._client = client
        self._places = places
        self._keys = keys
        self._ttl = ttl
        self._serializer = JSONSerializer()

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Keep the result for the time to live; one that JSON does not have becomes an error."""
        try:
            returned = jsonable(result.return_value, f"The result of job {task_id}")
        except NotJson as error:
            logger.error("%s", error)
            result = result.model_copy(update={"is_err": True, "error": error})
            returned = None
        result = result.model_copy(update={"return_value": returned})
        value = self._serializer.dumpb(result.model_dump(mode="json"))
        await self._client.set(self._keys.result(task_id), value, ex=self._ttl)

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether the job has ended, no longer than the time to live ago."""
        async with self._places:
            return bool(await self._client.exists(self._keys.result(task_id)))

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """The result.

        Raises:
            ResultGetError: the job has not ended, or its result has expired.
        """
        async with self._places:
            value: Any = await self._client.get(self._keys.result(task_id))
        if value is None:
            raise ResultGetError
        return TaskiqResult[Any].model_validate(self._serializer.loadb(value))


class Failures(TaskiqMiddleware):
    """Tries a failed job again, with a doubled pause each time, and buries it in the end.

    The next attempt is in the queue before this one is acknowledged; a worker that dies in between
    leaves both.
    """

    def __init__(self, queue: StreamBroker) -> None:
        super().__init__()
        self._queue = queue

    async def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        """Decide what becomes of the job."""
        if isinstance(exception, asyncio.CancelledError):
            # The worker was told to stop and would not wait: the job is for another one.
            raise exception
        attempt = int(message.labels.get("attempt", 1))
        attempts = int(message.labels.get("attempts", 1))
        reason = f"{type(exception).__name__}: {exception}"
        if attempt >= attempts:
            await self._queue.bury(message, f"failed {attempt} times, at last with {reason}")
            logger.error("%s is a dead letter: %s", message.task_name, reason)
            return
        pause = min(float(message.labels.get("backoff", 0)) * 2 ** (attempt - 1), LONGEST_BACKOFF)
        # Jobs that failed together shall not come back together.
        pause *= random.uniform(0.9, 1.1)  # noqa: S311
        again: AsyncKicker[..., Any] = AsyncKicker(
            message.task_name, self._queue, dict(message.labels)
        )
        await (
            again.with_task_id(message.task_id)
            .with_labels(attempt=attempt + 1, delay=pause)
            .kiq(*message.args, **message.kwargs)
        )
        logger.warning(
            "%s failed, attempt %d of %d: %s", message.task_name, attempt, attempts, reason
        )
        result.error = NoResultError()
