"""Rendered projects that are installed, on servers that their tests share."""

import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import projects
from tests.combinations import Combination, installed_combinations, module_sets
from tests.conftest import Renderer
from tests.engines.timescaledb import timescaledb
from tests.interpreters import interpreters
from tests.projects import PACKAGE, clean_environment, commit_all, run, uv

SERVE = f"""
import sys
from {PACKAGE}.data_layer.devservers.postgresql import embedded_server
with embedded_server(durable=False) as server:
    print(server.url.render_as_string(hide_password=False), flush=True)
    sys.stdin.read()
"""

INSTALLED = installed_combinations()
# One of each set of modules.
CONFIGURED = [
    next(
        one
        for one in INSTALLED
        if (one.modules, one.http_api, one.example) == (modules, *divmod(number % 4, 2))
    )
    for number, modules in enumerate(module_sets())
]
# pytest keeps together what has the same place in both lists.
COMBINATIONS = [*CONFIGURED, *(one for one in INSTALLED if one not in CONFIGURED)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "combination" not in metafunc.fixturenames:
        return
    metafunc.parametrize(
        "combination",
        [
            pytest.param(
                combination,
                id=str(combination),
                marks=pytest.mark.xdist_group(str(combination)),
            )
            for combination in (
                CONFIGURED if "configured" in metafunc.fixturenames else COMBINATIONS
            )
        ],
        scope="session",
    )


def install(project: Path, **variables: str) -> Path:
    """What a person types after `copier copy`: `git init`, `uv sync`, and a first commit."""
    environment = clean_environment(**variables)
    # What another project had too is there; to ask the index again costs a second.
    known = run(*(uv(), "sync", "--quiet", "--offline"), cwd=project, env=environment, check=False)
    if known.returncode != 0:
        run(uv(), "sync", "--quiet", cwd=project, env=environment)
    commit_all(project, "Begin")
    return project


def date_by_content(project: Path) -> None:
    """Give equal files of two projects equal dates: Python compares them with what it compiled."""
    for path in project.rglob("*.py"):
        date = zlib.crc32(path.read_bytes())
        os.utime(path, (date, date))


def share_compiled(project: Path, base: Path) -> None:
    """Let Python keep what it compiles of `project` where all workers find it.

    It looks for that below its prefix by the path of the source, which here is a link: what the
    projects of all workers compile to lies in one folder.
    """
    prefix = project.parent / "compiled"
    if not prefix.exists():
        (base / "compiled" / "project").mkdir(parents=True, exist_ok=True)
        prefix.symlink_to(base / "compiled")
        place = prefix.joinpath(*project.absolute().parts[1:])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(base / "compiled" / "project")


Installer = Callable[[Combination], Path]


@pytest.fixture(scope="session")
def installed(rendered: Renderer, tmp_path_factory: pytest.TempPathFactory) -> Installer:
    """Call it with a combination: its project, installed in a folder with a space.

    The project before it is gone, but for its environment: `uv sync` takes out of that what does
    not belong to the next one, so each has what it declares and no more. What both have in common
    is compiled once. A version of Python has a folder of its own.
    """
    stage = tmp_path_factory.mktemp("installed")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def install_combination(combination: Combination) -> Path:
        project = stage / combination.python_version / "my project"
        projects.clear(project)
        shutil.copytree(rendered(combination), project, dirs_exist_ok=True)
        share_compiled(project, shared)
        date_by_content(project)
        return install(project, UV_PYTHON=interpreters()[combination.python_version])

    return install_combination


@pytest.fixture(scope="session")
def project(combination: Combination, installed: Installer) -> Path:
    """The installed project of a combination."""
    return installed(combination)


@contextmanager
def serving(python: Path, source: Path) -> Iterator[str]:
    """The URL of an embedded PostgreSQL, run by the layer's launcher in `source`."""
    launcher = subprocess.Popen(
        [python, "-c", SERVE],
        cwd=source,
        env=clean_environment(PYTHONPATH=source),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdin
    assert launcher.stdout
    try:
        url = launcher.stdout.readline().strip()
        assert url, "the embedded server did not start"
        yield url
    finally:
        launcher.stdin.close()
        launcher.stdout.close()
        assert launcher.wait(timeout=60) == 0


@pytest.fixture(scope="session")
def server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one PostgreSQL for all projects of this worker."""
    project = projects.render(template, tmp_path_factory.mktemp("server") / "project")
    install(project)
    with serving(project / ".venv" / "bin" / "python", project / "src") as url:
        yield url


@pytest.fixture(scope="session")
def timescaledb_of_worker() -> Iterator[str]:
    """The URL of one TimescaleDB for all projects of this worker: half of its work is to begin."""
    with timescaledb() as url:
        yield url


@pytest.fixture(scope="session")
def timescaledb_server(combination: Combination, request: pytest.FixtureRequest) -> str:
    """The URL of a TimescaleDB for the projects that need one; empty for the others."""
    if "timescaledb" not in combination.modules:
        return ""
    return str(request.getfixturevalue("timescaledb_of_worker"))
