"""The executable adoption checklist: what a check is, how checks run, how they are reported."""

from .check import Check, Finding, Verdict, advice, failed, once, passed, survey
from .report import as_json, as_markdown, as_prometheus, print_table, remedies, summary
from .runner import Report, Result, run

__all__ = [
    "Check",
    "Finding",
    "Report",
    "Result",
    "Verdict",
    "advice",
    "as_json",
    "as_markdown",
    "as_prometheus",
    "failed",
    "once",
    "passed",
    "print_table",
    "remedies",
    "run",
    "summary",
    "survey",
]
