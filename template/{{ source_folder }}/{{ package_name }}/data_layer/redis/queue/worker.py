"""Running jobs, and sending those that have a schedule."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from taskiq import (
    AckableMessage,
    ScheduledTask,
    ScheduleSource,
    SendTaskError,
    TaskiqMessage,
    TaskiqResult,
    TaskiqScheduler,
    async_shared_broker,
)
from taskiq.acks import AckController
from taskiq.api import run_scheduler_task
from taskiq.kicker import AsyncKicker
from taskiq.receiver import Receiver
from taskiq.schedule_sources import LabelScheduleSource

from ... import tracing
from ...metrics import measured
from .broker import StreamBroker
from .queue import Queue
from .tasks import job_id

logger = logging.getLogger(__name__)

# Seconds, enough for a restart or a failover. A tick's id holds its minute, so it is sent once.
PATIENCE = 600.0


class _Receiver(Receiver):
    async def run_task(
        self,
        target: Callable[..., Any],
        message: TaskiqMessage,
        ack_controller: AckController | None = None,
    ) -> TaskiqResult[Any]:
        with tracing.span(message.task_name, kind="CONSUMER", carried=message.labels):
            return await super().run_task(target, message, ack_controller)

    async def callback(self, message: bytes | AckableMessage, raise_err: bool = False) -> None:
        try:
            await super().callback(message, raise_err)
        except Exception:
            logger.exception("A job could not be brought to its end; another worker gets it.")
        finally:
            if isinstance(self.broker, StreamBroker):
                self.broker.let_go(message)


async def run_worker(
    queue: Queue, stop: asyncio.Event, provide: dict[type, Any] | None = None
) -> None:
    """Run jobs until `stop` is set, then wait for those that run.

    Args:
        queue: where the jobs come from.
        stop: set it to end the worker.
        provide: what a task gets for a parameter with the default `TaskiqDepends()`, by type.
    """
    broker, settings = queue.broker, queue.broker.settings
    broker.is_worker_process = True
    broker.add_dependency_context({Queue: queue, **(provide or {})})
    with ThreadPoolExecutor(max_workers=1) as threads:
        receiver = _Receiver(
            broker,
            threads,
            max_async_tasks=settings.concurrency,
            wait_tasks_timeout=settings.shutdown_timeout,
            run_startup=True,
        )
        try:
            await receiver.listen(stop)
        finally:
            await broker.shutdown()


class Scheduler(TaskiqScheduler):
    """Sends each tick of every task with a schedule once, however many schedulers run."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue.broker, [LabelScheduleSource(async_shared_broker)])

    async def on_ready(self, source: ScheduleSource, task: ScheduledTask) -> None:
        """Send the tick; while the queue is down or full, try for `PATIENCE` seconds."""
        name = task.task_name
        tick = job_id(name, f"{task.schedule_id} {datetime.now(UTC):%Y-%m-%dT%H:%M}")
        given_up = monotonic() + PATIENCE
        while True:
            job: AsyncKicker[..., Any] = AsyncKicker(name, self.broker, {**task.labels})
            try:
                with measured("tick", name):
                    await job.with_task_id(tick).with_labels(once=1).kiq()
            except SendTaskError as error:
                if monotonic() > given_up:
                    logger.error("%s is not sent for this tick: %s", name, error.__cause__)
                    return
                await asyncio.sleep(1)
            else:
                logger.info("Sent %s.", name)
                return


async def run_scheduler(queue: Queue) -> None:
    """Send the tasks that have a schedule, at their times, until cancelled.

    A tick that passes while no scheduler runs is lost.
    """
    await run_scheduler_task(Scheduler(queue), run_startup=True)
