"""A migration environment of a test's own, and the project's one on an empty database."""

import asyncio
import os
import shutil
import sys
import textwrap
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import URL

from my_project.data_layer.database.migrations.runner import (
    run_command,
)

ENVIRONMENT = """
from sqlalchemy import MetaData
from my_project.data_layer.database.migrations import run_migrations

metadata = MetaData()
{tables}
run_migrations(metadata)
"""

MIGRATION = """
from alembic import op
import sqlalchemy as sa
from my_project.data_layer.database.migrations import (
    create_index_concurrently,
    drop_index_concurrently,
    in_batches,
    irreversible,
    validate_constraint,
)

revision = "{revision}"
down_revision = {down_revision}


def upgrade():
{upgrade}


def downgrade():
{downgrade}
"""


class Scratch:
    """A project with nothing but migrations, which a test writes itself."""

    def __init__(self, folder: Path, project: Path, url: URL) -> None:
        self.folder = folder
        self.url = url
        self.versions = folder / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        self.ini = folder / "alembic.ini"
        settings = (project / "alembic.ini").read_text("utf-8")
        self.ini.write_text(settings.replace("hooks = sort, format", "hooks ="), "utf-8")
        template = (project / "migrations" / "script.py.mako").read_text("utf-8")
        (folder / "migrations" / "script.py.mako").write_text(template, "utf-8")
        self.models("")

    def models(self, tables: str) -> None:
        """Write env.py with tables of `metadata`."""
        # A file of the same size, written within the same second, would be taken for the old one.
        shutil.rmtree(self.folder / "migrations" / "__pycache__", ignore_errors=True)
        source = ENVIRONMENT.replace("{tables}", textwrap.dedent(tables))
        (self.folder / "migrations" / "env.py").write_text(source, "utf-8")

    def migration(self, upgrade: str, downgrade: str = "pass") -> str:
        """Write the next migration; returns its revision: `m1`, `m2`, …"""
        number = len(list(self.versions.glob("*.py"))) + 1
        source = MIGRATION.format(
            revision=f"m{number}",
            down_revision=repr(f"m{number - 1}") if number > 1 else None,
            upgrade=textwrap.indent(textwrap.dedent(upgrade).strip(), "    "),
            downgrade=textwrap.indent(textwrap.dedent(downgrade).strip(), "    "),
        )
        path = self.versions / f"20260101_{number:06}_step.py"
        path.write_text(source, "utf-8")
        return f"m{number}"

    def config(self) -> Config:
        return Config(self.ini, attributes={"url": self.url})

    async def upgrade(self, revision: str = "head") -> None:
        await run_command(command.upgrade, self.config(), revision)

    async def downgrade(self, revision: str) -> None:
        await run_command(command.downgrade, self.config(), revision)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement behind the migrations' back; returns its rows."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that commits each statement."""
        return psycopg.connect(self.libpq(), autocommit=True)

    def libpq(self) -> str:
        """The address as libpq and the environment want it."""
        url = self.url.set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    async def alembic(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run the `alembic` command as a person does; returns the exit code and the output."""
        return await run_alembic(self.folder, *arguments, MIGRATION_URL=self.libpq(), **environment)

    async def start_alembic(self, *arguments: str, **environment: str) -> Process:
        """Begin the same, for a test that looks at it while it runs."""
        return await start_alembic(
            self.folder, *arguments, MIGRATION_URL=self.libpq(), **environment
        )


async def run_alembic(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run `alembic` in a process of its own with nothing but this environment."""
    process = await start_alembic(folder, *arguments, **environment)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def start_alembic(folder: Path, *arguments: str, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "alembic",
        *arguments,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)


@pytest.fixture
def scratch(tmp_path: Path, pytestconfig: pytest.Config, empty_database_url: URL) -> Scratch:
    """A migration environment of the test's own, on an empty database."""
    return Scratch(tmp_path, pytestconfig.rootpath, empty_database_url)
