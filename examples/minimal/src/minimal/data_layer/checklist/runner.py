"""Run checks at the same time: each has a time limit, and none can stop the others."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import DataLayerError
from .check import Check, Finding, Verdict, failed

TIMEOUT = 30.0
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found, and how long that took.

    Attributes:
        seconds: wall-clock time of the probe.
    """

    check: Check
    finding: Finding
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """The results, in the order of the checks."""

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """No required check failed."""
        return not any(
            result.check.required and result.finding.verdict is Verdict.FAILED
            for result in self.results
        )

    def count(self, verdict: Verdict) -> int:
        """How many checks ended with this verdict."""
        return sum(result.finding.verdict is verdict for result in self.results)


async def run(checks: Iterable[Check], *, timeout: float = TIMEOUT) -> Report:  # noqa: ASYNC109 (of each check, not of the run)
    """Ask every check and report what they found; a probe that raises has failed.

    Args:
        checks: at most eight of them are asked at a time.
        timeout: seconds that one check may take.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(check: Check) -> Result:
        async with places:
            begun = time.monotonic()
            finding = await _finding(check, timeout)
            return Result(check, finding, time.monotonic() - begun)

    return Report(tuple(await asyncio.gather(*(ask(check) for check in checks))))


async def _finding(check: Check, limit: float) -> Finding:
    try:
        async with asyncio.timeout(limit):
            return await check.probe()
    except TimeoutError:
        return failed(
            f"No answer within {limit:g} s.", "Look why what it asks takes so long, then try again."
        )
    except DataLayerError as error:
        # Such an error says what to do in its own sentence.
        return failed(str(error), "")
    except Exception as error:  # a broken check must not hide what the others found
        first_line = str(error).partition("\n")[0]
        return failed(
            f"The check itself broke: {type(error).__name__}: {first_line}",
            "Correct its probe, or what the probe stumbled over.",
        )
