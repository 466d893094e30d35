"""One rendered project for each combination of answers."""

from functools import lru_cache
from pathlib import Path

import pytest

from tests import projects
from tests.combinations import Combination, every_combination
from tests.conftest import Renderer

COMBINATIONS = every_combination()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "combination" in metafunc.fixturenames:
        metafunc.parametrize(
            "combination",
            [
                # The type checker keeps a cache for each version of Python.
                pytest.param(
                    combination,
                    id=str(combination),
                    marks=pytest.mark.xdist_group(f"python{combination.python_version}"),
                )
                for combination in COMBINATIONS
            ],
            scope="session",
        )


@pytest.fixture(scope="session")
def project(combination: Combination, rendered: Renderer) -> Path:
    """The project of a combination; tests read it and write nothing into it."""
    return rendered(combination)


@lru_cache(maxsize=2)
def files(project: Path) -> dict[str, bytes]:
    """The files of a project by their paths, read once for the tests of its combination."""
    return projects.files(project)
