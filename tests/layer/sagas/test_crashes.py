"""kill -9 before, inside and after every step and compensation, whatever the exchange does.

Judged by rows, money and the exchange's own book. SAGA_RUNS repeats each of them.
"""

import os

import pytest

from .conftest import Bank
from .workers import PATIENT, dies, ended, process

RUNS = int(os.environ.get("SAGA_RUNS", "1"))

FORWARD = [
    *("reserve begin", "reserve end", "reserve commit", "book begin", "book end"),
    *("clear begin", "clear end", "settle begin", "settle end", "settle commit"),
]
BACKWARD = ["cancel begin", "cancel end", "release begin", "release end", "release commit"]
AGAIN = ["book begin", "book end"]

# What the exchange does, where a worker dies, and how the saga ends.
SCENARIOS: list[tuple[dict[str, list[str]], list[str], str]] = [
    ({}, FORWARD, "completed"),
    ({"book": ["fail after"]}, AGAIN, "completed"),
    ({"book": ["forget", "lose"]}, AGAIN, "completed"),
    ({"clear": ["hang"]}, ["clear begin", "clear end"], "completed"),
    ({"clear": ["refuse"]}, BACKWARD, "compensated"),
    ({"clear": ["refuse"], "cancel": ["fail", "fail after"]}, BACKWARD, "compensated"),
    ({"clear": ["fail"] * 4}, ["clear begin", *BACKWARD], "compensated"),
    ({"book": ["fail after"] * 4}, BACKWARD, "compensated"),
    ({"book": ["forget", "refuse"]}, BACKWARD, "compensated"),
    ({"book": ["refuse"]}, ["book begin", "release begin", "release commit"], "compensated"),
]


@pytest.mark.standard("DL-SA-11")
@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize(
    ("behaviours", "point", "end"),
    [
        pytest.param(behaviours, point, end, id=f"{behaviours}-{point}")
        for behaviours, points, end in SCENARIOS
        for point in points
    ],
)
async def test_a_worker_that_dies_loses_and_doubles_nothing(
    desk: Bank, behaviours: dict[str, list[str]], point: str, end: str, run: int
) -> None:
    for path, told in behaviours.items():
        desk.exchange.behaviours[path].extend(told)
    desk.order("die", point)
    await desk.start()
    with process(desk.database, settings=PATIENT) as first:
        await dies(desk, first)
    with process(desk.database, settings=PATIENT):
        await ended(desk.database)
    assert await desk.judge() == end


@pytest.mark.standard("DL-SA-11")
async def test_a_local_step_that_ends_its_workers_does_not_repeat_the_call_before_it(
    desk: Bank,
) -> None:
    await desk.start()
    for _ in range(2):
        desk.order("die", "settle begin")
        with process(desk.database, settings=PATIENT) as worker:
            await dies(desk, worker)
    with process(desk.database, settings=PATIENT):
        await ended(desk.database)
    assert await desk.judge() == "completed"
    # Once with the first worker, whose record of it was lost, and once with the second.
    assert desk.exchange.calls["clear"] == 2
