"""What a check is: one demand of the standard that a running project can be asked about."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

Facts = TypeVar("Facts")


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    ADVICE = "advice"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe saw.

    Attributes:
        verdict: passed, advice (worth doing, nothing is broken) or failed.
        evidence: one sentence with what was measured.
        remedy: what to type or change; empty when passed.
        figures: the measured numbers, for the monitoring, by names such as `jobs`.
    """

    verdict: Verdict
    evidence: str
    remedy: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    def measured(self, figures: Mapping[str, float]) -> "Finding":
        """The same finding with these figures."""
        return replace(self, figures=figures)


def passed(evidence: str) -> Finding:
    """The demand is met, and this shows it."""
    return Finding(Verdict.PASSED, evidence)


def advice(evidence: str, remedy: str) -> Finding:
    """The demand is met for now, or does not apply yet; this would be better."""
    return Finding(Verdict.ADVICE, evidence, remedy)


def failed(evidence: str, remedy: str) -> Finding:
    """The demand is not met; the remedy says what to do."""
    return Finding(Verdict.FAILED, evidence, remedy)


Probe: TypeAlias = Callable[[], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One demand of the standard with the probe that asks the running project about it.

    Attributes:
        id: the stable id of the demand, for example `DL-PG-01`.
        title: what is demanded, in a few words.
        probe: asks the project; an exception that it raises counts as a failure.
        required: a failure of a required check makes `check` exit with 1.
        of_repository: the check judges files that an image does not hold; it is asked where the
            repository is.
    """

    id: str
    title: str
    probe: Probe
    required: bool = True
    of_repository: bool = False


def once(ask: Callable[[], Coroutine[Any, Any, Facts]]) -> Callable[[], Awaitable[Facts]]:
    """Let several checks share the answer to one question.

    When one check runs out of time, the others still get the answer.
    """
    asked: list[asyncio.Task[Facts]] = []

    async def answer() -> Facts:
        if not asked:
            asked.append(asyncio.create_task(ask()))
        return await asyncio.shield(asked[0])

    return answer


def survey(
    ask: Callable[[], Coroutine[Any, Any, Facts | Finding]],
) -> Callable[[Callable[[Facts], Finding]], Probe]:
    """Ask once for all checks of one report; the returned function makes a judgement a probe.

    A judgement runs in a thread, so it may read files and run programs.

    Args:
        ask: returns the facts, or the one finding that every check then reports. An error that it
            raises fails all checks.
    """
    facts = once(ask)

    def judged(judge: Callable[[Facts], Finding]) -> Probe:
        async def probe() -> Finding:
            seen = await facts()
            return seen if isinstance(seen, Finding) else await asyncio.to_thread(judge, seen)

        return probe

    return judged
