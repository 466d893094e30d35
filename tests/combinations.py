"""Which answers the tests render: every combination of what decides files, the rest pairwise."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import chain, combinations, cycle, product

import yaml

from tests.interpreters import interpreters
from tests.projects import ROOT

QUESTIONS = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))


def choices(question: str) -> list[str]:
    """The values that a question of copier.yml offers, in its order."""
    offered = QUESTIONS[question]["choices"]
    return list(offered.values() if isinstance(offered, dict) else offered)


MODULES = choices("modules")


@dataclass(frozen=True)
class Combination:
    """One set of answers, as far as the answers decide what is rendered."""

    modules: tuple[str, ...] = ()
    http_api: bool = True
    example: bool = True
    postgres_version: str = "18"
    python_version: str = "3.11"
    license: str = "MIT"
    ci_provider: str = "github"

    def answers(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "modules": list(self.modules)
        }

    @property
    def database_image(self) -> str:
        """What compose and CI start."""
        if "timescaledb" in self.modules:
            return f"timescale/timescaledb:2.29.2-pg{self.postgres_version}"
        return f"postgres:{self.postgres_version}"

    def __str__(self) -> str:
        parts = [
            *self.modules,
            "http" if self.http_api else "nohttp",
            "example" if self.example else "bare",
            f"pg{self.postgres_version}",
            f"py{self.python_version}",
            self.license,
            self.ci_provider,
        ]
        return "-".join(parts)

    @cache  # noqa: B019 (few, and for as long as the tests run)
    def pairs(self) -> set[frozenset[tuple[str, object]]]:
        """Every two values that meet in this combination."""
        values = [(f"module {module}", module in self.modules) for module in MODULES]
        values += [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "modules"]
        return {frozenset(pair) for pair in combinations(values, 2)}


EVERYTHING = Combination(modules=tuple(MODULES))
MINIMAL = Combination(http_api=False, example=False)


def module_sets() -> list[tuple[str, ...]]:
    """Every subset of the modules, the empty one first and the full one last."""
    return list(
        chain.from_iterable(combinations(MODULES, size) for size in range(len(MODULES) + 1))
    )


def cores() -> list[tuple[tuple[str, ...], bool, bool]]:
    """Every combination of the answers that decide which code is rendered."""
    return list(product(module_sets(), (True, False), (True, False)))


def every_combination() -> list[Combination]:
    """Each core at least once, with the other answers spread so that every two values meet."""
    sides = list(
        product(
            choices("postgres_version"),
            choices("python_version"),
            choices("license"),
            choices("ci_provider"),
        )
    )
    by_core = [[Combination(*core, *side) for side in sides] for core in cores()]
    everything = list(chain.from_iterable(by_core))
    missing = set().union(*(candidate.pairs() for candidate in everything))
    chosen: list[Combination] = []

    def best(candidates: Iterable[Combination]) -> Combination:
        # Beyond the pairs, every version of Python equally often.
        pythons = Counter(combination.python_version for combination in chosen)
        return max(
            candidates,
            key=lambda one: (len(one.pairs() & missing), -pythons[one.python_version]),
        )

    for candidates in by_core:
        chosen.append(best(candidates))
        missing -= chosen[-1].pairs()
    while missing:
        chosen.append(best(everything))
        missing -= chosen[-1].pairs()
    return chosen


def installed_combinations() -> list[Combination]:
    """Each core once, spread over the versions of Python that this machine has.

    A project whose lowest Python is 3.14 can't be installed where there is none.
    """
    first: dict[tuple[tuple[str, ...], bool, bool], Combination] = {}
    for combination in every_combination():
        first.setdefault(
            (combination.modules, combination.http_api, combination.example), combination
        )
    pythons = [version for version in choices("python_version") if version in interpreters()]
    turn = cycle(pythons)
    return [
        combination
        if combination.python_version in pythons
        else replace(combination, python_version=next(turn))
        for combination in first.values()
    ]


def ids(combinations: Sequence[Combination]) -> list[str]:
    return [str(combination) for combination in combinations]
