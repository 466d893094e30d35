"""What may be declared as a task."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from my_project.data_layer.redis.queue import InvalidTask, task

from .tasks import write


async def nothing() -> None:
    """A task that does nothing."""


@pytest.mark.parametrize("name", ["", "A.b", "a b", "a.", ".a", "a..b", "ä", "a/b", "a\n", "1a"])
def test_an_odd_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidTask, match="no name of a task"):
        task(name)


@pytest.mark.parametrize(
    ("what", "number"),
    [
        *(("attempts", number) for number in (0, -1, 1.5, math.inf, math.nan)),
        *(("backoff", number) for number in (-0.1, math.inf, math.nan)),
        *(("timeout", number) for number in (0, -1, math.inf, math.nan)),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(what: str, number: Any) -> None:
    with pytest.raises(InvalidTask, match=f"The {what} of tests.numbers is"):
        task("tests.numbers", **{what: number})


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("0 0 31 2 *", "no month has that day"),
        ("0 0 31 4,6 *", "no month has that day"),
        ("60 * * * *", "'60' is no minute"),
        ("5,61 * * * *", "'61' is no minute"),
        ("*/0 * * * *", r"'\*/0' is no minute"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of the month"),
        ("0 0 1 13 *", "'13' is no month"),
        ("0 0 * * 7", "'7' is no day of the week"),
        ("0 0 * * monday-", "'monday-' is no day of the week"),
        ("@daily", "it has 1 fields, not 5"),
        ("", "it has 1 fields, not 5"),
    ],
)
def test_a_schedule_that_never_fires_is_refused(schedule: str, reason: str) -> None:
    with pytest.raises(InvalidTask, match=f"never fires: {reason}"):
        task("tests.never", schedule=schedule)


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "30 6 * * 1-5", "0 0 29 2 *", "*/5 8-18 1,15 * mon", "0 0 29 2 1"]
)
def test_a_schedule_that_fires_is_taken(schedule: str) -> None:
    task("tests.fires", schedule=schedule)


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidTask, match=r"tests.write; give one of them another name"):
        task("tests.write")(nothing)
    # The same function again, as when its module is loaded anew.
    task("tests.write", attempts=3, backoff=0.1)(write.function)


@pytest.mark.parametrize(
    "function",
    [lambda: nothing(), partial(nothing), len, lambda: None],
    ids=["lambda", "partial", "builtin", "other lambda"],
)
def test_only_a_function_is_a_task(function: Callable[[], Any]) -> None:
    with pytest.raises(InvalidTask, match="async def"):
        task("tests.no-function")(function)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_a_job_begins_now_or_later(seconds: float) -> None:
    with pytest.raises(InvalidTask, match="give 0 or more"):
        write.after(seconds)
