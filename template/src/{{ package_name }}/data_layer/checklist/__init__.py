"""The executable adoption checklist: what a check is, how checks run, how they are reported."""

from .check import Check, Finding, Verdict, advice, failed, passed

__all__ = ["Check", "Finding", "Verdict", "advice", "failed", "passed"]
