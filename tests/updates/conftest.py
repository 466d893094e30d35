"""Versions of the template in a git repository, and projects that follow them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import copier
import psycopg
import pytest
import yaml

from tests import projects
from tests.engines.conftest import serving
from tests.projects import clean_environment, commit_all, files, git, run

# Rendered by the first copy only. What the documents call "yours".
YOURS = (
    *("src/my_project/market/", "migrations/", "tests/conftest.py", "tests/market/", "data/"),
    *("LICENSE", "dvc.yaml", "scripts/"),
)


def is_yours(path: str) -> bool:
    """Whether an update must leave `path` alone, whatever the template says by then."""
    beside_the_layer = path.startswith("src/my_project/") and path.count("/") == 2
    return path.startswith(YOURS) or (beside_the_layer and path.endswith(".py"))


@pytest.fixture(scope="session")
def current(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree's template as a repository with one version."""
    repository = tmp_path_factory.mktemp("repository") / "template"
    shutil.copytree(template, repository)
    commit_all(repository, "The template of the working tree")
    return repository


@pytest.fixture
def growing(current: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, to which it adds a version."""
    repository = tmp_path / "growing"
    shutil.copytree(current, repository)
    return repository


@pytest.fixture(scope="session")
def embedded(environment: Path, everything: Path) -> Iterator[str]:
    """The URL of an embedded PostgreSQL, which has no TimescaleDB."""
    with serving(environment / "bin" / "python", everything / "src") as url:
        yield url.replace("+psycopg", "")


def begin(template: Path, destination: Path, **answers: object) -> Path:
    """A person's project: rendered and committed."""
    projects.render(template, destination, **answers)
    commit_all(destination, "Begin")
    return destination


def update(project: Path, **answers: object) -> None:
    """`copier update --defaults`, with `-d` for each answer, and the commit that follows."""
    copier.run_update(
        project,
        data=answers,
        defaults=True,
        overwrite=True,
        skip_answered=True,
        quiet=True,
        unsafe=False,
        vcs_ref="HEAD",
    )
    commit_all(project, f"Update {answers}")


def answers(project: Path) -> dict[str, object]:
    recorded = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert isinstance(recorded, dict)
    return recorded


def append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{old}{line}\n", encoding="utf-8")


def conflicts(project: Path) -> list[str]:
    """Files with conflict markers, and files that a failed merge left beside others."""
    return [
        path
        for path, content in files(project).items()
        if b"\n>>>>>>> after updating" in content or path.endswith((".rej", ".orig"))
    ]


def dirty(project: Path) -> str:
    return git("status", "--porcelain", cwd=project)


class Typed:
    """What a person types in a project: the environment of all modules, and its own source.

    `variables` are set for every command.
    """

    def __init__(self, project: Path, environment: Path, **variables: str) -> None:
        self.project = project
        self.bin = environment / "bin"
        self.variables = variables

    def __call__(
        self, command: str, *arguments: str | Path, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment; `python` is its interpreter."""
        return run(
            self.bin / command,
            *arguments,
            cwd=self.project,
            env=clean_environment(
                PYTHONPATH=self.project / "src",
                PATH=f"{self.bin}{os.pathsep}{os.environ['PATH']}",
                **self.variables | variables,
            ),
            check=check,
        )


def database(server: str, name: str) -> str:
    """The URL of a new, empty database on a server."""
    server = server.replace("+psycopg", "")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return urlsplit(server)._replace(path=f"/{name}").geturl()
