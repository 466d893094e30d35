"""What becomes of a job: its result is kept, it is tried again, or it becomes a dead letter."""

import asyncio
import logging
import random
from typing import Any

from taskiq import AsyncResultBackend, NoResultError, TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.exceptions import ResultGetError
from taskiq.kicker import AsyncKicker
from taskiq.serializers import JSONSerializer

from ... import logs, tracing
from ...metrics import observe
from ..errors import NotJson
from ..jsonable import jsonable
from .broker import StreamBroker

logger = logging.getLogger(__name__)

LONGEST_BACKOFF = 3600.0
REQUEST_ID = "request_id"


class Results(AsyncResultBackend[Any]):
    """One key with a time to live for each job; as JSON, so that reading a result runs no code."""

    def __init__(self, broker: StreamBroker) -> None:
        self._broker = broker
        self._serializer = JSONSerializer()

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Keep the result for the time to live; a result that JSON can't hold becomes an error."""
        changes: dict[str, Any] = {"return_value": None}
        try:
            changes["return_value"] = jsonable(result.return_value, f"The result of job {task_id}")
        except NotJson as error:
            logger.error("%s", error)
            changes |= {"is_err": True, "error": error}
        value = self._serializer.dumpb(result.model_copy(update=changes).model_dump(mode="json"))
        ttl = self._broker.settings.result_ttl
        await self._broker.client.set(self._broker.result(task_id), value, ex=ttl)

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether the job has ended, and its result has not expired."""
        async with self._broker.places:
            return bool(await self._broker.client.exists(self._broker.result(task_id)))

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """The result.

        Raises:
            ResultGetError: the job has not ended, or its result has expired.
        """
        async with self._broker.places:
            value: Any = await self._broker.client.get(self._broker.result(task_id))
        if value is None:
            raise ResultGetError
        return TaskiqResult[Any].model_validate(self._serializer.loadb(value))


class Outcomes(TaskiqMiddleware):
    """Logs and counts of each job, and what becomes of a job that fails.

    A failed job is tried again, with a doubled pause each time, and becomes a dead letter in the
    end. The next attempt is in the queue before this one is acknowledged; a worker that dies in
    between leaves both.
    """

    def __init__(self, broker: StreamBroker) -> None:
        super().__init__()
        self._broker = broker

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Give the job's log lines the id of the request that sent it, or else the job's own."""
        logs.begin(str(message.labels.get(REQUEST_ID, message.task_id)))
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """Count the attempt, with its seconds."""
        observe("job", message.task_name, result.execution_time, failed=result.is_err)

    async def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        """Decide what becomes of the job."""
        if isinstance(exception, asyncio.CancelledError):
            # The worker was told to stop and waits no longer: another worker gets the job.
            raise exception
        tracing.failed(exception)
        name, labels = message.task_name, message.labels
        attempt, attempts = int(labels.get("attempt", 1)), int(labels.get("attempts", 1))
        reason = f"{type(exception).__name__}: {exception}"
        if attempt >= attempts:
            await self._broker.bury(message, f"failed {attempt} times, at last with {reason}")
            logger.error("%s is a dead letter: %s", name, reason)
            return
        pause = min(float(labels.get("backoff", 0)) * 2 ** (attempt - 1), LONGEST_BACKOFF)
        # Jobs that failed together should not come back together.
        pause *= random.uniform(0.9, 1.1)  # noqa: S311
        again: AsyncKicker[..., Any] = AsyncKicker(name, self._broker, dict(labels))
        again = again.with_task_id(message.task_id).with_labels(attempt=attempt + 1, delay=pause)
        await again.kiq(*message.args, **message.kwargs)
        logger.warning("%s failed, attempt %d of %d: %s", name, attempt, attempts, reason)
        result.error = NoResultError()
