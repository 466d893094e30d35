"""Rendered projects that are installed: each in an environment of its own, on a shared server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import projects
from tests.combinations import MODULES, Combination, cores
from tests.engines.timescaledb import timescaledb
from tests.projects import PACKAGE, clean_environment, commit_all, run, uv

SERVE = f"""
import sys
from {PACKAGE}.data_layer.database.embedded import embedded_server
with embedded_server(durable=False) as server:
    print(server.url.render_as_string(hide_password=False), flush=True)
    sys.stdin.read()
"""


def installed_combinations() -> list[Combination]:
    """Every set of modules with the HTTP API and the worked example, all of them also without both.

    No module at all comes in every way. The others are rendered, linted and type-checked, and
    their layer and its tests are the same files, which tests/rendering proves; with EVERY in the
    environment, they are installed too.
    """
    return [
        Combination(modules, http_api, example)
        for modules, http_api, example in cores()
        if (http_api and example)
        or not modules
        or (modules == tuple(MODULES) and http_api == example)
        or "EVERY" in os.environ
    ]


COMBINATIONS = installed_combinations()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "combination" in metafunc.fixturenames:
        metafunc.parametrize(
            "combination",
            [
                pytest.param(
                    combination,
                    id=str(combination),
                    marks=pytest.mark.xdist_group(str(combination)),
                )
                for combination in COMBINATIONS
            ],
            scope="session",
        )


def install(project: Path, **variables: str) -> Path:
    """What a person types after `copier copy`: `git init`, `uv sync`, and a first commit."""
    run(uv(), "sync", "--quiet", cwd=project, env=clean_environment(**variables))
    commit_all(project, "Begin")
    return project


@pytest.fixture(scope="session")
def project(
    combination: Combination, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An installed project of a combination, in a folder with a space."""
    destination = tmp_path_factory.mktemp("installed") / "my project"
    yield install(projects.render(template, destination, **combination.answers()))
    shutil.rmtree(destination / ".venv")


@pytest.fixture(scope="session")
def server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one PostgreSQL for all projects of this worker, run by the project's launcher."""
    project = projects.render(template, tmp_path_factory.mktemp("server") / "project")
    install(project)
    launcher = subprocess.Popen(
        [project / ".venv" / "bin" / "python", "-c", SERVE],
        cwd=project,
        env=clean_environment(),
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
def timescaledb_server(combination: Combination) -> Iterator[str]:
    """The URL of a TimescaleDB for the projects that need one; empty for the others."""
    if "timescaledb" not in combination.modules:
        yield ""
        return
    with timescaledb() as url:
        yield url
