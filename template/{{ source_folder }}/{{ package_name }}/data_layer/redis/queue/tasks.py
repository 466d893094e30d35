"""Declaring tasks: functions that a worker runs, some of them by a schedule."""

import inspect
import math
import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Generic, ParamSpec, TypeVar

from taskiq import async_shared_broker
from taskiq.cli.scheduler.run import CronValueError, is_cron_task_now

from ..errors import InvalidTask

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")
_WEEKDAY = "day of the week (0 is Sunday, 6 Saturday)"


@dataclass(frozen=True, slots=True)
class Task(Generic[P, R]):
    """A declared task. Calling it runs the function here and now; `Queue.send` has a worker do so.

    Attributes:
        name: the name by which a job names its task; after a rename the jobs that wait
            become dead letters.
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

        If a job with the key was sent before, `send` returns that job, and so its result.
        """
        return replace(self, job_id=job_id(self.name, key), labels={**self.labels, "once": 1})

    def after(self, seconds: float) -> "Task[P, R]":
        """The same task, to begin no sooner than in `seconds`."""
        if not 0 <= seconds < math.inf:
            raise InvalidTask(f"{self.name} can't begin in {seconds} seconds; give 0 or more.")
        return replace(self, labels={**self.labels, "delay": float(seconds)})


def job_id(task: str, key: str) -> str:
    """The id of the one job of the task with this idempotency key."""
    return sha256(f"{task}\0{key}".encode()).hexdigest()[:32]


def schedules() -> dict[str, str]:
    """The cron expressions of the declared tasks that have one, by the name of the task."""
    labels = {name: one.labels for name, one in async_shared_broker.get_all_tasks().items()}
    return {name: one["schedule"][0]["cron"] for name, one in labels.items() if one.get("schedule")}


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
    the job to another one. Make its effect safe to repeat.

    Args:
        name: a lasting and unique name, such as `market.daily-report`.
        attempts: how often a job is tried before it becomes a dead letter.
        backoff: seconds before the second attempt; doubled for each further one, up to an hour.
        timeout: seconds for one attempt.
        schedule: a cron expression (UTC) by which the scheduler sends it, without arguments.

    Raises:
        InvalidTask: one of these is wrong, another function has the name, or the function is not
            an `async def`.
    """
    if not _NAME.fullmatch(name):
        raise InvalidTask(f"{name!r} is no name of a task; write one like market.daily-report.")
    for what, number, least in (
        ("attempts", attempts, 1),
        ("backoff", backoff, 0),
        ("timeout", timeout, 0.001),
    ):
        if not least <= number < math.inf or (what == "attempts" and number != int(number)):
            raise InvalidTask(f"The {what} of {name} is {number}; use {least} or more.")
    if schedule is not None and (reason := _why_never(schedule)):
        raise InvalidTask(f"The schedule {schedule!r} of {name} never fires: {reason}.")

    def declare(function: Callable[P, Coroutine[Any, Any, R]]) -> Task[P, R]:
        if not inspect.iscoroutinefunction(function) or not inspect.isfunction(function):
            raise InvalidTask(f"The task {name} is no function of `async def`; declare one.")
        there = async_shared_broker.find_task(name)
        if there is not None and _place(there.original_func) != _place(function):
            raise InvalidTask(
                f"{_place(there.original_func)} and {_place(function)} are both declared as the "
                f"task {name}; give one of them another name."
            )
        labels: dict[str, str | int | float] = {"attempts": attempts}
        labels |= {"backoff": float(backoff), "timeout": float(timeout)}
        crons = [] if schedule is None else [{"cron": schedule, "schedule_id": name}]
        async_shared_broker.register_task(function, name, **labels, schedule=crons)
        return Task(name, function, labels)

    return declare


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _why_never(schedule: str) -> str:
    """Why the scheduler would never send it; empty when it would."""
    fields = schedule.split(" ")
    if len(fields) != 5:
        return f"it has {len(fields)} fields, not 5"
    begin = datetime(2024, 1, 1, tzinfo=UTC)  # a leap year
    days = [begin + timedelta(days=number) for number in range(366)]
    candidates = {
        "minute": [begin + timedelta(minutes=number) for number in range(60)],
        "hour": [begin + timedelta(hours=number) for number in range(24)],
        **dict.fromkeys(("day of the month", "month", _WEEKDAY), days),
    }
    # taskiq ignores a part that it can't read, so each part must match by itself.
    for place, (what, times) in enumerate(candidates.items()):
        for part in fields[place].split(","):
            alone = [*("*" * place), part, *("*" * (4 - place))]
            if not _matches(" ".join(alone), times):
                return f"{part!r} is no {what}"
    # Within 28 years each date falls on each day of the week.
    dates = (begin + timedelta(days=number) for number in range(28 * 366))
    return "" if _matches(f"* * {' '.join(fields[2:])}", dates) else "no month has that day"


def _matches(schedule: str, times: Iterable[datetime]) -> bool:
    try:
        return any(is_cron_task_now(schedule, time) for time in times)
    except (CronValueError, ArithmeticError):
        return False
