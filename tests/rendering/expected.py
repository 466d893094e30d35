"""Which paths a combination must have, read from expected.yml."""

from pathlib import Path

import yaml

from tests.combinations import Combination

SECTIONS = yaml.safe_load(Path(__file__).with_name("expected.yml").read_text(encoding="utf-8"))


def expected_paths(combination: Combination) -> set[str]:
    """Every path that `combination` must have, and no other."""
    return {
        path
        for section in SECTIONS
        if all(_holds(combination, answer, value) for answer, value in section["when"].items())
        for path in section["paths"]
    }


def _holds(combination: Combination, answer: str, value: object) -> bool:
    given = getattr(combination, answer)
    return value in given if isinstance(given, tuple) else bool(given == value)
