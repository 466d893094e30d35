"""An update works where people have their clones, whatever git and the machine make of them.

CRLF and a global ignore: test_updates.py.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import copier
import pytest

from tests.projects import commit_all, files, git
from tests.updates.conftest import Typed, append, begin, conflicts

ERRORS = "src/my_project/data_layer/errors.py"


def worktree(project: Path, place: Path) -> None:
    git("worktree", "add", "--quiet", "-b", "work", place, cwd=project)


def shallow_clone(project: Path, place: Path) -> None:
    append(project / "README.md", "Ours.")
    commit_all(project, "More work")
    git("clone", "--quiet", "--depth", "1", project.as_uri(), place, cwd=project)


def submodule(project: Path, place: Path) -> None:
    place.parent.mkdir()
    commit_all(place.parent, "Begin")
    add = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add")
    git(*add, project, place.name, cwd=place.parent)
    commit_all(place.parent, "Add the project")


def failing_hooks(project: Path, place: Path) -> None:
    project.rename(place)
    for name in ("pre-commit", "commit-msg", "post-checkout", "post-merge"):
        hook = place / ".git" / "hooks" / name
        hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        hook.chmod(0o755)


def umask_077(project: Path, place: Path) -> None:
    os.umask(0o077)
    git("clone", "--quiet", project, place, cwd=project)


@pytest.fixture
def umask() -> Iterator[None]:
    """The umask of before, whatever the test sets."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("arrange", [worktree, shallow_clone, submodule, failing_hooks, umask_077])
def test_an_update_works_in_a(
    growing: Path, environment: Path, tmp_path: Path, arrange: Callable[[Path, Path], None]
) -> None:
    project = begin(growing, tmp_path / "project", http_api=False, example=False)
    place = tmp_path / "with a space" / "clone"
    if arrange is not submodule:
        place.parent.mkdir()
    arrange(project, place)
    append(place / "README.md", "Ours too.")
    # A person's way past hooks that fail.
    git("commit", "--quiet", "--all", "--no-verify", "--message", "Our work", cwd=place)
    before = files(place)

    append(
        growing / "template/{{ source_folder }}/{{ package_name }}/data_layer/errors.py", "# New."
    )
    commit_all(growing, "The next version")
    copier.run_update(
        place, defaults=True, overwrite=True, quiet=True, unsafe=False, vcs_ref="HEAD"
    )

    after = files(place)
    changed = {path for path in before.keys() | after if before.get(path) != after.get(path)}
    assert changed == {".copier-answers.yml", ERRORS}
    assert conflicts(place) == []
    typed = Typed(place, environment)
    typed("python", "-m", "my_project.data_layer", "check", "--only", "DL-UP")
