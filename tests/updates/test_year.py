"""A year of a project: modules go and come back, by the commands that say what to do."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import psycopg
import pytest

from tests.checker import check_types
from tests.combinations import MODULES, Combination
from tests.conftest import Renderer
from tests.engines.timescaledb import timescaledb
from tests.projects import commit_all, files, git
from tests.updates.conftest import Typed, begin, conflicts, database, is_yours, update
from tests.updates.edits import edit

CLI = ("python", "-m", "my_project")
# Each module, all of them, and every two.
GOING = [
    *combinations(MODULES, 1),
    tuple(MODULES),
    *(pytest.param(pair, marks=pytest.mark.long) for pair in combinations(MODULES, 2)),
]


@pytest.fixture(scope="module")
def time_series() -> Iterator[str]:
    with timescaledb() as url:
        yield url


@pytest.fixture(scope="module")
def edited(current: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with everything, after that year."""
    project = begin(current, tmp_path_factory.mktemp("edited") / "project", modules=MODULES)
    edit(project)
    commit_all(project, "Our work")
    return project


def of(project: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What git has of a project: managed files, and those that are yours."""
    tracked = set(git("ls-files", cwd=project).splitlines())
    content = {path: text for path, text in files(project).items() if path in tracked}
    yours = {path: text for path, text in content.items() if is_yours(path)}
    return {path: text for path, text in content.items() if path not in yours}, yours


def code(project: Path) -> dict[str, bytes]:
    """What is yours and runs, but for the history, which remembers what was."""
    yours = of(project)[1]
    return {path: text for path, text in yours.items() if path.startswith(("src/", "tests/"))}


def follow(typed: Typed, module: str) -> None:
    """Do what `modules remove` says until it has nothing more to say, and commit that."""

    def remove(*, check: bool) -> subprocess.CompletedProcess[str]:
        return typed(*CLI, "modules", "remove", module, check=check)

    told = remove(check=False)
    assert told.returncode == 1, told.stdout + told.stderr
    for folder, file in re.findall(
        r"^- (?:(\S+)/ stands on|(\S+):\d+ imports) ", told.stdout, re.MULTILINE
    ):
        if folder:
            shutil.rmtree(typed.project / folder)
        else:
            (typed.project / file).unlink()
    if module in ("timescaledb", "duckdb"):
        # What was declared in that folder of the example is declared no more.
        typed("alembic", "revision", "--autogenerate", "-m", f"do without {module}")
        versions = typed.project / "migrations" / "versions"
        (revision,) = versions.glob(f"*_do_without_{module}.py")
        if "put `timescaledb.drop_extension()` at the end" in told.stdout:
            upgrade, between, downgrade = revision.read_text().partition("\n\n\ndef downgrade")
            upgrade = f"{upgrade}\n    timescaledb.drop_extension()"
            revision.write_text(f"{upgrade}{between}{downgrade}")
        typed("alembic", "upgrade", "head")
    commit_all(typed.project, f"Do without {module}")
    said(remove(check=True).stdout)


def said(output: str) -> list[str]:
    """The modules in the update that a command says to type."""
    listed = re.search(r"copier update -d 'modules=\[(.*)\]'", output)
    assert listed, output
    return [name for name in listed[1].split(", ") if name]


def fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO instruments (symbol, name, currency, tick_size)"
            " VALUES ('AAPL', 'Apple', 'USD', 0.01)"
        )
        connection.execute(
            "INSERT INTO trades SELECT id, '2026-01-01Z'::timestamptz + day * INTERVAL '1 day',"
            " 1, 5, 7 FROM instruments, generate_series(1, 30) AS day"
        )


def stored(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(*), sum(quantity) FROM trades").fetchone()


@pytest.mark.parametrize("going", GOING, ids="-".join)
def test_modules_go_and_come_back(
    edited: Path,
    environment: Path,
    rendered: Renderer,
    time_series: str,
    tmp_path: Path,
    going: tuple[str, ...],
) -> None:
    """Code that equals a new project's needs no second proof; its history and its data do.

    Types of that code: tests/rendering. So of the history alone, where it is longest and nothing
    stays that it could import.
    """
    project = tmp_path / "project"
    shutil.copytree(edited, project)
    managed, _ = of(project)
    url = database(time_series, "-".join(going))
    typed = Typed(project, environment, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1/0")

    def migrate() -> None:
        typed("alembic", "upgrade", "head")
        checks = ("DL-UP", "DL-MIG-04", "DL-MIG-05")
        typed(*CLI, "check", *(word for one in checks for word in ("--only", one)))
        assert stored(url) == (30, 210)

    typed("alembic", "upgrade", "head")
    fill(url)
    for module in going:
        follow(typed, module)
    _, yours = of(project)
    staying = tuple(module for module in MODULES if module not in going)
    update(project, modules=staying)
    assert conflicts(project) == []
    assert of(project)[1] == yours
    fresh = tmp_path / "fresh"
    shutil.copytree(rendered(Combination(modules=staying)), fresh)
    edit(fresh)
    commit_all(fresh, "The same work")
    assert without_answers(of(project)[0]) == without_answers(of(fresh)[0])
    assert code(project) == code(fresh)
    migrate()
    if not staying:
        check_types(project, environment)

    for module in going:
        back = said(typed(*CLI, "modules", "add", module).stdout)
        assert set(back) == {*staying, module}
    update(project, modules=MODULES)
    assert conflicts(project) == []
    assert of(project) == (managed, yours)
    migrate()


def test_what_comes_next_begins_with_the_settings(edited: Path, environment: Path) -> None:
    assert "`uv run my-project init`" in Typed(edited, environment)(*CLI, "next").stdout


def without_answers(managed: dict[str, bytes]) -> dict[str, bytes]:
    """They name the version of the template, which a copy of a folder has not."""
    return {path: text for path, text in managed.items() if path != ".copier-answers.yml"}
