"""Declaring tasks: functions that a worker runs, some of them by a schedule."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Generic, ParamSpec, TypeVar

from taskiq import async_shared_broker

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Task(Generic[P, R]):
    """A declared task. Calling it runs the function here and now; `Queue.send` has a worker do so.

    Attributes:
        name: what a job says it wants; renaming it loses the jobs that wait.
        function: what runs.
        labels: how it runs.
        job_id: the id of the next job, when an idempotency key decides it.
    """

    name: str
    function: Callable[P, Coroutine[Any, Any, R]]
    labels: dict[str, str | int | float] = field(default_factory=dict)
    job_id: str | None = None

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.function(*args, **kwargs)

    def once(self, key: str) -> "Task[P, R]":
        """The same task, sent at most once for this idempotency key.

        A job that was sent before with it is the job; its result is the result.
        """
        return replace(self, job_id=job_id(self.name, key), labels={**self.labels, "once": 1})

    def after(self, seconds: float) -> "Task[P, R]":
        """The same task, begun no sooner than in `seconds`."""
        return replace(self, labels={**self.labels, "delay": float(seconds)})


def job_id(task: str, key: str) -> str:
    """The id of the one job of the task with this idempotency key."""
    return sha256(f"{task}\0{key}".encode()).hexdigest()[:32]


def task(
    name: str,
    *,
    attempts: int = 3,
    backoff: float = 5.0,
    timeout: float = 300.0,
    schedule: str | None = None,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Task[P, R]]:
    """Declare a task. `__main__.py` names the module that does so, in `create_cli(declares=[…])`.

    A job runs at least once: a worker that dies between the effect and the acknowledgement leaves
    the job to another one. Make its effect one that may happen twice.

    Args:
        name: lasting and unique, such as `market.daily-report`.
        attempts: how often it is tried before it becomes a dead letter.
        backoff: seconds before the second attempt; doubled for each further one, up to an hour.
        timeout: seconds for one attempt.
        schedule: a cron expression (UTC) by which the scheduler sends it, without arguments.
    """

    def declare(function: Callable[P, Coroutine[Any, Any, R]]) -> Task[P, R]:
        labels: dict[str, str | int | float] = {
            "attempts": attempts,
            "backoff": float(backoff),
            "timeout": float(timeout),
        }
        crons = [] if schedule is None else [{"cron": schedule, "schedule_id": name}]
        async_shared_broker.register_task(function, name, **labels, schedule=crons)
        return Task(name, function, labels)

    return declare
