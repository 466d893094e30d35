"""A command imports what it needs and nothing else: that is what lets it start fast."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from my_project.data_layer import wiring
from my_project.data_layer.cli import create_cli
from my_project.data_layer.database.migrations import run_migrations
from my_project.data_layer.project import PACKAGE
from tests.layer import has

# What modules bring, what the HTTP API brings, and what tools for analysis bring.
HEAVY = {
    *("duckdb", "pyarrow", "numpy", "pandas", "polars", "matplotlib"),
    *("obstore", "httpx2"),
    *("redis", "taskiq"),
    *("fastapi", "starlette"),
}
# taskiq looks for FastAPI.
CHECKS_NEED = {
    "duckdb": {"duckdb", "pyarrow", "numpy"},
    "files": {"pyarrow", "numpy", "obstore", "httpx2"},
    "redis": {"redis", "taskiq", "fastapi", "starlette"},
    "timescaledb": set[str](),
}
DATABASE = {"alembic", "psycopg", "pydantic_settings", "sqlalchemy"}

OWN = ("-m", PACKAGE)
# The layer's command line without a story.
PLAIN = ("-c", f"from {create_cli.__module__} import create_cli; create_cli()()")


class Started:
    """A command that ran: what it printed, and the top packages that it imported."""

    def __init__(self, folder: Path, program: tuple[str, ...], *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *program, *arguments],
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if name != "MIGRATION_URL"},
                "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
                "TMPDIR": str(folder),
                "COLUMNS": "200",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.split("|") for line in done.stderr.splitlines()]
        self.code, self.out = done.returncode, done.stdout
        self.imported = {line[-1].strip().partition(".")[0] for line in lines if len(line) == 3}
        assert "typer" in self.imported, done.stderr


@pytest.fixture
def project(open_folder: Path, pytestconfig: pytest.Config) -> Path:
    """A project without models and migrations: what these need is not the command line's doing."""
    for name in ("alembic.ini", ".env.example", ".gitignore"):
        shutil.copy(pytestconfig.rootpath / name, open_folder)
    (open_folder / "migrations" / "versions").mkdir(parents=True)
    (open_folder / "migrations" / "env.py").write_text(
        "from sqlalchemy import MetaData\n"
        f"from {run_migrations.__module__} import run_migrations\n"
        "run_migrations(MetaData())\n"
    )
    return open_folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["init"],
        ["check", "--help"],
        ["demo", "--help"],
        ["migrations", "--help"],
    ],
    ids=" ".join,
)
def test_what_needs_no_database_imports_nothing_for_one(
    project: Path, arguments: list[str]
) -> None:
    started = Started(project, OWN, *arguments)

    assert started.code == 0, started.out
    assert started.imported & (HEAVY | DATABASE) == set()


def test_the_change_set_is_read_by_git_alone(project: Path) -> None:
    for arguments in (["init", "--quiet"], ["add", "alembic.ini"]):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "commit", "-qm", "x"], cwd=project, check=True)

    started = Started(project, OWN, "migrations", "change-set", "--base", "HEAD")

    assert (started.code, started.out) == (0, "No migration changes since HEAD.\n")
    assert started.imported & (HEAVY | DATABASE) == set()


def test_the_lint_needs_alembic_alone(project: Path) -> None:
    started = Started(project, OWN, "migrations", "lint")

    assert started.code == 0, started.out
    assert started.imported & HEAVY == set()


def test_checks_of_the_database_import_no_other_part(project: Path) -> None:
    started = Started(project, OWN, "check", "--only", "DL-PG")

    assert "DL-PG-01" in started.out
    assert "DL-MIG" not in started.out
    assert started.imported & (HEAVY | {"alembic"}) == set()


def test_the_demo_imports_what_its_checks_ask_about(project: Path) -> None:
    needed = set[str]().union(*(packages for name, packages in CHECKS_NEED.items() if has(name)))

    started = Started(project, PLAIN, "demo")

    assert "The checklist" in started.out
    assert started.imported & HEAVY == needed & started.imported
    # Of each module something at least: else the list above is of another time.
    assert all(CHECKS_NEED[name] & started.imported for name in ("duckdb", "redis") if has(name))


def test_a_throwaway_database_needs_no_module_but_its_servers(project: Path) -> None:
    started = Started(project, OWN, "embedded", "true")

    assert started.code == 0, started.out
    assert started.imported & HEAVY == ({"redis"} & started.imported if has("redis") else set())


def test_each_check_is_found_by_its_id_and_by_the_beginning_of_it() -> None:
    for check in wiring.checks():
        for only in (check.id, check.id[:4], "DL"):
            found = [one.id for one in wiring.checks([only])]
            assert check.id in found, f"{check.id} is not among what --only {only} imports"
