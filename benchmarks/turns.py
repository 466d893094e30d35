"""Two sides that take turns, so that a machine which is busy for a while is busy for both."""

import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from typing import Any

Call = Callable[[], Awaitable[Any]]


async def take_turns(
    sides: Mapping[str, Call], *, calls: int, rounds: int
) -> dict[str, list[float]]:
    """Calls a second of each side, round by round; a call before each round is not counted."""
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, call in sides.items():
            await call()
            begun = time.perf_counter()
            for _ in range(calls):
                await call()
            rates[side].append(calls / (time.perf_counter() - begun))
    return rates


def report(what: str, rates: Mapping[str, list[float]]) -> None:
    """Print the median rate of both sides, and of the second's to the first's in the same round."""
    (floor, plain), (name, ours) = rates.items()
    ratio = median(mine / bare for mine, bare in zip(ours, plain, strict=True))
    print(
        f"{what:<11} {floor} {median(plain):>12,.0f}/s  {name} {median(ours):>12,.0f}/s"
        f"  ratio {ratio:.2f}"
    )
