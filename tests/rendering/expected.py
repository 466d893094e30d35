"""Which paths a combination must have, read from expected.yml."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import yaml

from tests.combinations import Combination

# The conditions of each line; one that holds is enough.
CONDITIONS: dict[str, list[dict[str, object]]] = defaultdict(list)
for section in yaml.safe_load(Path(__file__).with_name("expected.yml").read_text(encoding="utf-8")):
    for line in section["paths"]:
        CONDITIONS[line].append(section["when"])


def faults(combination: Combination, rendered: Iterable[str]) -> list[str]:
    """What is wrong with the `rendered` paths of a combination, a sentence each."""
    owned: dict[str, list[str]] = defaultdict(list)
    for path in rendered:
        owned[owner(path)].append(path)
    unclaimed = [f"{path} is claimed by no line of expected.yml." for path in owned.pop("", ())]
    wrong = [
        f"{path} must not be there: see {line} in expected.yml."
        for line, paths in owned.items()
        if not _holds(combination, line)
        for path in paths
    ]
    missing = [
        f"{line} is expected, and nothing of it is rendered."
        for line in CONDITIONS
        if _holds(combination, line) and line not in owned
    ]
    return unclaimed + wrong + missing


def owner(path: str) -> str:
    """The longest line that claims `path`; empty when none does."""
    claims = [
        line
        for line in CONDITIONS
        if line == path or (line.endswith("/") and path.startswith(line))
    ]
    return max(claims, key=len, default="")


def _holds(combination: Combination, line: str) -> bool:
    return any(
        all(_given(combination, answer, value) for answer, value in condition.items())
        for condition in CONDITIONS[line]
    )


def _given(combination: Combination, answer: str, value: object) -> bool:
    given = getattr(combination, answer)
    return value in given if isinstance(given, tuple) else bool(given == value)
