"""A survey: one question serves all checks of a report."""

import asyncio
import threading

import pytest

from my_project.data_layer import checklist
from my_project.data_layer.checklist import Check, Finding, Verdict, survey
from my_project.data_layer.errors import DataLayerError


def judge(number: int) -> Finding:
    return checklist.passed(f"It is {number}.")


async def test_the_checks_of_a_report_ask_once() -> None:
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return asked

    judged = survey(ask)
    report = await checklist.run([Check(f"DL-AA-0{n}", "A demand", judged(judge)) for n in (1, 2)])

    assert [one.finding.evidence for one in report.results] == ["It is 1.", "It is 1."]


async def test_a_judgement_may_block() -> None:
    async def ask() -> int:
        return threading.get_ident()

    def elsewhere(thread: int) -> Finding:
        here = threading.get_ident()
        return checklist.passed("It may.") if here != thread else checklist.failed("No.", "")

    assert (await survey(ask)(elsewhere)()).verdict is Verdict.PASSED


async def test_one_finding_may_stand_for_every_check() -> None:
    async def ask() -> int | Finding:
        return checklist.advice("Nothing is set up.", "Set it up.")

    judged = survey(ask)

    assert (await judged(judge)()).evidence == "Nothing is set up."
    assert (await judged(judge)()).verdict is Verdict.ADVICE


async def test_what_the_question_raises_fails_every_check() -> None:
    async def ask() -> int:
        raise DataLayerError("The server is down; start it.")

    judged = survey(ask)
    report = await checklist.run([Check(f"DL-AA-0{n}", "A demand", judged(judge)) for n in (1, 2)])

    assert {one.finding.evidence for one in report.results} == {"The server is down; start it."}


async def test_a_check_that_runs_out_of_time_leaves_the_answer_to_the_others() -> None:
    async def ask() -> int:
        await asyncio.sleep(0.1)
        return 1

    judged = survey(ask)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await judged(judge)()

    assert (await judged(judge)()).evidence == "It is 1."
