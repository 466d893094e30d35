"""The deep tests of the layer: each part's in the smallest project that has it, and all together.

Alone, on the lowest Python that this machine has, a hidden need of another module shows; beside
everything else, on the highest, a clash.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.combinations import EVERYTHING, Combination
from tests.deep import SUITES, alone, equip, folders, put_into, variables
from tests.engines.conftest import Installer
from tests.engines.test_projects import assert_all_passed, call
from tests.engines.timescaledb import timescaledb
from tests.interpreters import interpreters
from tests.projects import CACHE, clean_environment, run

LOWEST, HIGHEST = min(interpreters()), max(interpreters())

RUNS = [
    *(("alone", suite, replace(alone(suite), python_version=LOWEST)) for suite in SUITES),
    *(
        ("beside everything", suite, replace(EVERYTHING, python_version=HIGHEST))
        for suite in SUITES
        # Two meet no module; the other needs several sessions on a migrated server.
        if suite not in ("recovery", "sagas", "market")
    ),
]

# The dearer of the second runs; the tests of a project with everything show a clash, too.
SELDOM = [("beside everything", suite) for suite in ("core", "duckdb", "redis", "timescaledb")]

MIGRATED = "tests/layer/migrations/test_checks.py"
# No module reaches what these test, or the one module alone does: once is enough on each push.
APART = (
    *("database", "devservers"),
    *("duckdb/test_extremes.py", "duckdb/test_flights.py"),
    *("redis/test_limits.py", "redis/test_queue_topologies.py", "redis/test_topologies.py"),
    *("timescaledb/test_living.py", "timescaledb/test_weather.py"),
)


@pytest.mark.parametrize(
    ("how", "suite", "answers"),
    [
        pytest.param(
            *(how, suite, combination),
            id=f"{suite} {how}",
            marks=[
                pytest.mark.xdist_group(f"{suite} {how}"),
                *([pytest.mark.long] if (how, suite) in SELDOM else []),
            ],
        )
        for how, suite, combination in RUNS
    ],
)
def test_the_layer(how: str, suite: str, answers: Combination, installed: Installer) -> None:
    project = installed(answers)
    put_into(project, answers)
    equip(project, suite)

    apart = APART if how == "beside everything" and "TEST_LONG" not in os.environ else ()
    left = [f"--deselect=tests/layer/{path}" for path in apart]

    def passes(*paths: str, **given: str) -> None:
        command = ("pytest", "-q", "--color=no", *left, *paths)
        assert_all_passed(call(project, *command, check=True, **variables(suite), **given))

    paths = [f"tests/layer/{folder}" for folder in folders(suite)]
    if "timescaledb" not in answers.modules:
        passes(*paths)
        return
    # Only the server with the extension can migrate the project, and it has one session.
    if suite == "core":
        with timescaledb() as url:
            passes(MIGRATED, TEST_DATABASE_URL=url)
        passes(*paths, f"--ignore={MIGRATED}", TEST_MIGRATIONS="0")
    else:
        with timescaledb() as url:
            passes(*paths, TEST_TIMESCALEDB_URL=url, TEST_MIGRATIONS="0")


@pytest.mark.xdist_group("types of the layer's tests")
def test_the_deep_tests_are_typed(everything: Path, environment: Path, tmp_path: Path) -> None:
    """Strictly, as the project that they run in; ruff has seen them in `make lint`."""
    project = tmp_path / "project"
    shutil.copytree(everything, project)
    put_into(project, EVERYTHING)
    run(
        *(environment / "bin" / "mypy", "--cache-dir", CACHE / "mypy-layer"),
        *("--python-executable", environment / "bin" / "python", "tests/layer"),
        cwd=project,
        env=clean_environment(),
    )
