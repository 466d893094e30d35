"""What happens to a job that failed: it is tried again later, or becomes a dead letter."""

import asyncio
import logging
import random
from typing import Any

from taskiq import NoResultError, TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.kicker import AsyncKicker

from .broker import StreamBroker

logger = logging.getLogger(__name__)

LONGEST_BACKOFF = 3600.0


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
