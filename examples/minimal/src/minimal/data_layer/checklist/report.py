"""A report for people on a terminal, for a page (Markdown), for programs (JSON) and monitoring."""

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .check import Verdict
from .runner import Report, Result

STYLES = {Verdict.PASSED: "green", Verdict.ADVICE: "yellow", Verdict.FAILED: "bold red"}
VALUES = {Verdict.PASSED: 0, Verdict.ADVICE: 1, Verdict.FAILED: 2}
BOXES = {Verdict.PASSED: "✅", Verdict.ADVICE: "💡", Verdict.FAILED: "❌"}


def print_table(report: Report, console: Console) -> None:
    """A table with a section for each group of ids, then one line that sums it up."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("Check", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("What was found", ratio=1)
    seen: dict[str, str] = {}
    for number, result in enumerate(report.results):
        if number and _group(result) != _group(report.results[number - 1]):
            table.add_section()
        finding = result.finding
        optional = "" if result.check.required else " (not required)"
        found = Text(f"{result.check.title}{optional}\n", style="bold")
        first = seen.setdefault(finding.evidence, result.check.id)
        # One cause, such as a server that is down, fails many checks: say it once.
        found.append(
            finding.evidence if first == result.check.id else f"The same as {first}.",
            style="not bold",
        )
        if finding.remedy and first == result.check.id:
            found.append(f"\n→ {finding.remedy}", style=f"not bold {STYLES[finding.verdict]}")
        table.add_row(result.check.id, Text(finding.verdict, STYLES[finding.verdict]), found)
    console.print(table)
    console.print(
        Text(f"\n{summary(report)}", style="green" if report.ok else "bold red"), highlight=False
    )


def summary(report: Report) -> str:
    """One sentence: how many checks passed, gave advice, failed."""
    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in Verdict)
    end = "every required check holds" if report.ok else "a required check failed"
    return f"{len(report.results)} checks: {counts}; {end}."


def remedies(report: Report) -> list[str]:
    """What is to be done, in the order of the checks; a cause that fails many is named once."""
    return list(
        dict.fromkeys(
            " ".join(filter(None, (result.finding.evidence, result.finding.remedy)))
            for result in report.results
            if result.finding.verdict is not Verdict.PASSED
        )
    )


def as_json(report: Report) -> str:
    """The report as one JSON object.

    `ok` (boolean), `summary` (how many by verdict), and `checks`: a list of objects with `id`,
    `title`, `required` (boolean), `verdict` (`passed`, `advice` or `failed`), `evidence`,
    `remedy` (empty when passed), `figures` (numbers by name) and `seconds` (number).
    """
    return json.dumps(
        {
            "ok": report.ok,
            "summary": {verdict: report.count(verdict) for verdict in Verdict},
            "checks": [
                {
                    "id": result.check.id,
                    "title": result.check.title,
                    "required": result.check.required,
                    "verdict": result.finding.verdict,
                    "evidence": result.finding.evidence,
                    "remedy": result.finding.remedy,
                    "figures": dict(result.finding.figures),
                    "seconds": round(result.seconds, 3),
                }
                for result in report.results
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def as_prometheus(report: Report, moment: float) -> str:
    """The verdicts and figures as metrics in the text format of Prometheus.

    Args:
        report: what was found.
        moment: when the checks were asked, in seconds since 1970.
    """
    verdict, told = "data_layer_check_verdict", "data_layer_check_timestamp_seconds"
    figure = "data_layer_check_figure"
    lines = [
        f"# HELP {verdict} 0 where the check passed, 1 where it gave advice, 2 where it failed.",
        f"# TYPE {verdict} gauge",
        *(
            f'{verdict}{{check="{result.check.id}",required="{str(result.check.required).lower()}"}}'
            f" {VALUES[result.finding.verdict]}"
            for result in report.results
        ),
        f"# HELP {figure} What a check measured, by its name.",
        f"# TYPE {figure} gauge",
        *(
            f'{figure}{{check="{result.check.id}",name={_quoted(name)}}} {value:g}'
            for result in report.results
            for name, value in result.finding.figures.items()
        ),
        f"# HELP {told} When the checks were asked.",
        f"# TYPE {told} gauge",
        f"{told} {moment:.0f}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    # JSON and this format write a quotation mark and a backslash alike.
    return json.dumps(text, ensure_ascii=False)


def as_markdown(report: Report) -> str:
    """The report as a Markdown table with ticked boxes, to be pasted into a review."""
    lines = [
        "| | Check | Demand | Found | Remedy |",
        "|---|---|---|---|---|",
        *(
            f"| {BOXES[result.finding.verdict]} | {result.check.id} | {_cell(result.check.title)} "
            f"| {_cell(result.finding.evidence)} | {_cell(result.finding.remedy)} |"
            for result in report.results
        ),
        "",
        summary(report),
    ]
    return "\n".join(lines)


def _group(result: Result) -> str:
    return result.check.id.rpartition("-")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
