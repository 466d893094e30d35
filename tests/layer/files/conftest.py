"""A project of its own for each test: a data tree, a git repository, no settings from outside."""

import os
import subprocess
from pathlib import Path

import pytest

from my_project.data_layer.files import DataTree


def git(project: Path, *arguments: str) -> str:
    """Run git in the project as a person who has set nothing but a name."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "Ada", f"GIT_{who}_EMAIL": "ada@example.org"}
    environment["GIT_CONFIG_GLOBAL"] = os.devnull
    return subprocess.run(
        ["git", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture
def project(tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with this one's ignore rules, as the current directory."""
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    (folder / "alembic.ini").touch()
    for name in (".gitignore", ".gitattributes"):
        (folder / name).write_bytes((pytestconfig.rootpath / name).read_bytes())
    for name in list(os.environ):
        if name.startswith("FILES_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def repository(project: Path) -> Path:
    """The same as a git repository without a commit."""
    git(project, "init", "--quiet")
    return project


@pytest.fixture
def tree(project: Path) -> DataTree:
    """The complete data tree of the project."""
    tree = DataTree(project / "data")
    tree.create()
    return tree
