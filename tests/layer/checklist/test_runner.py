"""The runner: every check is heard, whatever the others do."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable

import pytest
from rich.console import Console

from my_project.data_layer import checklist
from my_project.data_layer.checklist import (
    Check,
    Finding,
    Report,
    Result,
    Verdict,
)
from my_project.data_layer.errors import DataLayerError


async def good() -> Finding:
    return checklist.passed("All is well.")


async def could_be_better() -> Finding:
    return checklist.advice("It works.", "Do this.")


async def bad() -> Finding:
    return checklist.failed("It is broken.", "Do that.")


async def unreachable() -> Finding:
    raise DataLayerError("The server is down; start it.")


async def broken() -> Finding:
    raise KeyError("a bug")


async def endless() -> Finding:
    await asyncio.sleep(60)
    return checklist.passed("Never.")


@pytest.mark.parametrize(
    ("probe", "required", "verdict", "evidence", "ok"),
    [
        (good, True, Verdict.PASSED, "All is well.", True),
        (could_be_better, True, Verdict.ADVICE, "It works.", True),
        (bad, True, Verdict.FAILED, "It is broken.", False),
        (bad, False, Verdict.FAILED, "It is broken.", True),
        (unreachable, True, Verdict.FAILED, "The server is down; start it.", False),
        (broken, True, Verdict.FAILED, "The check itself broke: KeyError: 'a bug'", False),
        (endless, True, Verdict.FAILED, "No answer within 0.05 s.", False),
    ],
)
async def test_a_probe_ends_in_a_verdict(
    probe: Callable[[], Awaitable[Finding]],
    required: bool,
    verdict: Verdict,
    evidence: str,
    ok: bool,
) -> None:
    report = await checklist.run(
        [Check("DL-XX-01", "A demand", probe, required), Check("DL-XX-02", "Another", good)],
        timeout=0.05,
    )

    assert report.results[0].finding.verdict is verdict
    assert report.results[0].finding.evidence == evidence
    assert report.results[1].finding.verdict is Verdict.PASSED
    assert report.ok is ok


async def test_checks_run_at_once_but_not_all_of_them_and_keep_their_order() -> None:
    now, most = 0, 0

    async def slow() -> Finding:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return checklist.passed("Done.")

    checks = [Check(f"DL-XX-{number:02}", "A demand", slow) for number in range(24)]
    report = await checklist.run(checks)

    assert most == 8
    assert [result.check for result in report.results] == checks


async def test_no_check_at_all_is_a_report_too() -> None:
    report = await checklist.run([])

    assert report.ok
    assert json.loads(checklist.as_json(report))["checks"] == []


@pytest.fixture
def report() -> Report:
    down = checklist.failed("Down | out.", "Start it.")
    fine = checklist.passed("[bold]Fine.[/]").measured({'of "größe"': 2.5})
    return Report(
        (
            Result(Check("DL-PG-01", "Up", bad), down, 0.1),
            Result(Check("DL-PG-02", "Also up", bad), down, 0.0),
            Result(Check("DL-TX-01", "Fine", good), fine, 0.25),
        )
    )


def test_json_says_everything(report: Report) -> None:
    read = json.loads(checklist.as_json(report))

    assert read["ok"] is False
    assert read["summary"] == {"passed": 1, "advice": 0, "failed": 2}
    assert read["checks"][0] == {
        "id": "DL-PG-01",
        "title": "Up",
        "required": True,
        "verdict": "failed",
        "evidence": "Down | out.",
        "remedy": "Start it.",
        "figures": {},
        "seconds": 0.1,
    }
    assert read["checks"][2]["figures"] == {'of "größe"': 2.5}


def test_markdown_is_one_table_whatever_the_evidence_holds(report: Report) -> None:
    table, sentence = checklist.as_markdown(report).split("\n\n")
    rows = table.splitlines()

    assert len(rows) == 2 + 3
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}
    assert rows[2].startswith("| ❌ | DL-PG-01 | Up | Down \\| out. | Start it. |")
    assert sentence == "3 checks: 1 passed, 0 advice, 2 failed; a required check failed."


def test_the_table_says_one_cause_once(report: Report) -> None:
    written = io.StringIO()

    checklist.print_table(report, Console(file=written, width=100))

    text = written.getvalue()
    assert text.count("Down | out.") == 1
    assert "The same as DL-PG-01." in text
    assert "[bold]Fine.[/]" in text  # evidence is no markup
    assert "a required check failed" in text
