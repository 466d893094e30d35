"""`demo` and `embedded`: a database of their own, and nobody else's."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from my_project.data_layer import cli, errors
from my_project.data_layer.database.migrations import run_migrations
from my_project.data_layer.devservers import postgresql
from my_project.data_layer.project import PACKAGE
from tests.layer import PATIENCE, has

PROGRAM = f"""
import os
from sqlalchemy import text
from {cli.__name__} import create_cli
from {errors.__name__} import DataLayerError

async def story(database, console):
    async with database.transaction() as session:
        name = await session.scalar(text("SELECT current_database()"))
        console.print("told in " + name)
    if "BREAK" in os.environ:
        raise DataLayerError("The story broke; mend it.")

create_cli(story=None if "SILENT" in os.environ else story)()
"""
SLEEPER = """
import signal, sys, time
signal.signal(signal.{signal}, lambda number, frame: sys.exit(42))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path, pytestconfig: pytest.Config) -> Path:
    """A copy of this project's migrations, with settings that lead to a database not to touch."""
    project = tmp_path / "a project"
    shutil.copytree(
        pytestconfig.rootpath / "migrations",
        project / "migrations",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("alembic.ini", ".copier-answers.yml"):
        shutil.copy(pytestconfig.rootpath / name, project)
    if has("timescaledb"):
        # No TimescaleDB is embedded, so this copy has no hypertables.
        for migration in (project / "migrations" / "versions").glob("*.py"):
            migration.unlink()
        (project / "migrations" / "env.py").write_text(
            "from sqlalchemy import MetaData\n"
            f"from {run_migrations.__module__} import run_migrations\n"
            "run_migrations(MetaData())\n"
        )
    if has("files"):
        from my_project.data_layer.files import DataTree

        tree = DataTree(project / "data")
        tree.create()
        tree.write_readmes()
    (project / ".gitignore").write_text(".env\n")
    (project / ".env").write_text(
        "DATABASE_URL=postgresql://nobody@127.0.0.1:1/production\n"
        "MIGRATION_URL=postgresql://nobody@127.0.0.1:1/production\n"
        "DATABASE_TRANSACTION_POOLER=true\n"
    )
    (project / ".env").chmod(0o600)
    return project


def start(
    project: Path, temporary: Path, *arguments: str, **environment: str
) -> "subprocess.Popen[str]":
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DATABASE_", "MIGRATION_"))
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=project,
        env=inherited | {"TMPDIR": str(temporary), "COLUMNS": "200"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    project: Path, temporary: Path, *arguments: str, **environment: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error; nothing of a server may be left."""
    with start(project, temporary, *arguments, **environment) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert not list(temporary.glob(f"{postgresql.PREFIX}*"))
    return process.returncode, out, err


def test_the_demo_tells_the_story_and_runs_the_checks(project: Path, open_folder: Path) -> None:
    code, out, err = run(project, open_folder, "demo")

    assert code == 0, out + err
    assert "PostgreSQL 18" in out
    assert f"told in {PACKAGE}" in out
    assert "DL-PG-01" in out
    assert "every required check holds" in out
    assert "The server and its data are removed." in out
    assert "production" not in out


def test_without_a_story_the_demo_says_how_to_pass_one(project: Path, open_folder: Path) -> None:
    code, out, err = run(project, open_folder, "demo", SILENT="1")

    assert code == 0, out + err
    assert "create_cli(story=…)" in out
    assert "every required check holds" in out


def test_a_story_that_breaks_ends_in_a_sentence(project: Path, open_folder: Path) -> None:
    code, out, err = run(project, open_folder, "demo", BREAK="1")

    assert code == 2
    assert err == "Error: The story broke; mend it.\n"
    assert "DL-PG-01" not in out


def test_outside_of_a_project_no_server_starts(tmp_path: Path, open_folder: Path) -> None:
    code, out, err = run(tmp_path, open_folder, "demo")

    assert code == 2
    assert "No alembic.ini" in err
    assert "PostgreSQL 18" not in out


def test_a_command_gets_the_database_and_gives_its_exit_code(
    project: Path, open_folder: Path
) -> None:
    script = "import os, sys; print(os.environ['DATABASE_URL']); sys.exit(7)"

    code, out, err = run(project, open_folder, "embedded", sys.executable, "-c", script)

    assert code == 7, err
    assert out.startswith("postgresql://postgres:")
    assert "@127.0.0.1:" in out


def test_a_command_that_is_not_there_is_a_sentence(project: Path, open_folder: Path) -> None:
    code, _, err = run(project, open_folder, "embedded", "no-such-command")

    assert code == 2
    assert "Error: no-such-command can't be run: No such file or directory." in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command(
    project: Path, open_folder: Path, number: signal.Signals
) -> None:
    script = SLEEPER.format(signal=number.name)
    with start(project, open_folder, "embedded", sys.executable, "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)

    assert process.returncode == 42
    assert not list(open_folder.glob(f"{postgresql.PREFIX}*"))
