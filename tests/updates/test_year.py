"""A year of a project: every module goes and comes back, by the commands that say what to do."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.combinations import MODULES
from tests.projects import commit_all, files, git
from tests.updates.conftest import Typed, append, begin, conflicts, is_yours, update
from tests.updates.test_toggles import edit_managed_files

# Without time series the embedded server will do, so that module goes first and comes back last.
ORDER = ("timescaledb", "redis", "duckdb", "files")
CLI = ("python", "-m", "my_project")
# The layer's own entry, which answers also where the project's can't be imported.
CHECK = ("python", "-m", "my_project.data_layer", "check", "--only", "DL-UP")


def follow(typed: Typed, module: str) -> list[str]:
    """Do what `modules remove` says until it prints the update; returns the modules that stay."""

    def remove(*, check: bool) -> subprocess.CompletedProcess[str]:
        return typed(
            *(*CLI, "modules", "remove", module),
            check=check,
            DATABASE_URL=typed.server,
            REDIS_URL="redis://127.0.0.1:1/0",
        )

    told = remove(check=False)
    assert told.returncode == 1, told.stdout + told.stderr
    for folder, file in re.findall(
        r"^- (?:(\S+)/ stands on|(\S+):\d+ imports) ", told.stdout, re.MULTILINE
    ):
        if folder:
            shutil.rmtree(typed.project / folder)
        else:
            (typed.project / file).unlink()
    commit_all(typed.project, f"Do without {module}")
    return said(remove(check=True).stdout)


def of(project: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What git has of a project: managed files, and those that are yours."""
    tracked = set(git("ls-files", cwd=project).splitlines())
    content = {path: text for path, text in files(project).items() if path in tracked}
    yours = {path: text for path, text in content.items() if is_yours(path)}
    return {path: text for path, text in content.items() if path not in yours}, yours


def said(output: str) -> list[str]:
    listed = re.search(r"copier update -d 'modules=\[(.*)\]'", output)
    assert listed, output
    return [name for name in listed[1].split(", ") if name]


def test_every_module_goes_and_comes_back(
    current: Path, environment: Path, embedded: str, tmp_path: Path
) -> None:
    project = begin(current, tmp_path / "project", modules=MODULES)
    edit_managed_files(project)
    append(project / "src/my_project/data_layer/errors.py", "# Ours.")
    append(project / "src/my_project/market/models.py", "# Ours.")
    commit_all(project, "Our work")
    managed, _ = of(project)
    typed = Typed(project, environment, embedded)

    # Migrates to the head of the history first.
    embedding = (*CLI, "embedded", "--server", embedded)
    migrated = (*embedding, *CLI, "check", "--only", "DL-MIG-04", "--only", "DL-MIG-05")
    # Dropping the table is what the safety lint warns of.
    tested = ("pytest", "-q", "-p", "no:cacheprovider", "-k", "not safe_files")

    for module in ORDER:
        modules = follow(typed, module)
        _, yours = of(project)
        update(project, modules=modules)
        assert of(project)[1] == yours
        assert conflicts(project) == []
        typed(*CHECK)
        if module == "duckdb":
            typed(*embedding, "alembic", "revision", "--autogenerate", "-m", "drop indicators")
            commit_all(project, "Drop what is gone")
        typed(*migrated)
    typed("mypy")
    typed(*tested, "tests/market", "tests/data_layer/migrations", TEST_DATABASE_URL=embedded)
    commit_all(project, "Without a module")
    _, yours = of(project)

    for module in reversed(ORDER):
        update(project, modules=said(typed(*CLI, "modules", "add", module).stdout))
        assert conflicts(project) == []
        typed(*CHECK)
        if module != "timescaledb":
            typed(*migrated)
            part = "migrations" if module == "duckdb" else module
            typed(*tested, f"tests/data_layer/{part}", TEST_DATABASE_URL=embedded)
    typed("mypy")
    assert of(project) == (managed, yours)
    assert "`uv run my-project init`" in typed(*CLI, "next").stdout
