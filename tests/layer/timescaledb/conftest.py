"""A server with TimescaleDB, databases on it, and projects with migrations of their own.

The server is the first of these that is there:

1. `TEST_TIMESCALEDB_URL`;
2. `TEST_DATABASE_URL`, when TimescaleDB is installed on its server.
"""

import os
import secrets
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import URL, make_url

from my_project.data_layer.database import Database
from my_project.data_layer.database.migrations.runner import run_command
from tests.data_layer.fixtures import connect, empty_tables, settings_of
from tests.layer.timescaledb.server import has_background_workers, timescaledb_server
from tests.layer.timescaledb.weather import Station

PREFIX = "test_my_project_timescaledb_"

ENVIRONMENT = """
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    select,
)
from my_project.data_layer.database.migrations import run_migrations
from my_project.data_layer.timescaledb import (
    KEEP,
    ContinuousAggregate,
    Hypertable,
    first,
    last,
    time_bucket,
)
from my_project.data_layer.wiring import prepare_migrations

metadata = MetaData()
{models}
prepare_migrations()
run_migrations(metadata)
"""

MIGRATION = """
import sqlalchemy as sa
from alembic import op
from my_project.data_layer.timescaledb import operations as timescaledb

revision = "{revision}"
down_revision = {down_revision}


def upgrade():
{upgrade}


def downgrade():
{downgrade}
"""

WEATHER = "from tests.layer.timescaledb.weather import WeatherBase\nmetadata = WeatherBase.metadata"

OBJECTS = """
    SELECT 'relation', relname, '' FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    UNION ALL
    SELECT 'dimension', hypertable_name, time_interval::text
    FROM timescaledb_information.dimensions WHERE hypertable_schema = 'public'
    UNION ALL
    SELECT 'columnstore', s.hypertable::text, concat_ws('|', s.segmentby, s.orderby)
    FROM timescaledb_information.hypertable_columnstore_settings AS s
    WHERE s.hypertable::text NOT LIKE '%materialized%'
    UNION ALL
    SELECT 'aggregate', view_name, materialized_only::text || view_definition
    FROM timescaledb_information.continuous_aggregates
    UNION ALL
    SELECT 'policy', hypertable_name, concat_ws(
        '|', proc_name, schedule_interval, scheduled,
        config - 'hypertable_id' - 'mat_hypertable_id' - 'refreshable_since'
    ) FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
    ORDER BY 1, 2, 3
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and report as deselected, what an engine without background workers can't do."""
    given = os.environ.get("TEST_TIMESCALEDB_URL") or os.environ.get("TEST_DATABASE_URL")
    native = [item for item in items if item.get_closest_marker("native")]
    if not given or not native or has_background_workers(make_url(given)):
        return
    config.hook.pytest_deselected(items=native)
    items[:] = [item for item in items if item not in native]


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """A server with TimescaleDB on which tests may create databases."""
    with timescaledb_server() as url:
        yield url


def create_database(server: URL) -> URL:
    name = f"{PREFIX}{secrets.token_hex(5)}"
    with connect(server) as connection:
        # The image has put the extension into the usual template.
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        )
    return server.set(database=name)


def drop_database(url: URL, server: URL) -> None:
    with connect(server) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(url.database or ""))
        )


@pytest.fixture
def database_url(server: URL) -> Iterator[URL]:
    """A new empty database, dropped after the test."""
    url = create_database(server)
    yield url
    drop_database(url, server)


class Project:
    """A project with nothing but models and migrations, which a test writes itself."""

    def __init__(self, folder: Path, root: Path, url: URL) -> None:
        self.url = url
        self.folder = folder
        self.versions = folder / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        for name in ("alembic.ini", "migrations/script.py.mako"):
            text, _, _ = (root / name).read_text("utf-8").partition("[post_write_hooks]")
            (folder / name).write_text(text, "utf-8")
        self.models("")

    def models(self, source: str) -> None:
        """Write env.py with tables of `metadata`."""
        text = ENVIRONMENT.replace("{models}", textwrap.dedent(source))
        (self.folder / "migrations" / "env.py").write_text(text, "utf-8")

    def migration(self, upgrade: str, downgrade: str = "pass") -> None:
        """Write the next migration by hand."""
        number = len(list(self.versions.glob("*.py"))) + 1
        head = ScriptDirectory.from_config(self.config()).get_current_head()
        text = MIGRATION.format(
            revision=f"m{number}",
            down_revision=repr(head),
            upgrade=textwrap.indent(textwrap.dedent(upgrade).strip(), "    "),
            downgrade=textwrap.indent(textwrap.dedent(downgrade).strip(), "    "),
        )
        (self.versions / f"20260101_{number:06}_step.py").write_text(text, "utf-8")

    def config(self) -> Config:
        return Config(self.folder / "alembic.ini", attributes={"url": self.url})

    async def autogenerate(self, message: str = "step") -> str:
        """Write the next migration as Alembic finds it; its text, empty when there is none."""
        before = set(self.versions.glob("*.py"))
        await run_command(command.revision, self.config(), message, autogenerate=True)
        new = set(self.versions.glob("*.py")) - before
        return "".join(path.read_text("utf-8") for path in new)

    async def upgrade(self, revision: str = "head") -> None:
        await run_command(command.upgrade, self.config(), revision)
        self.stop_scheduler()

    def stop_scheduler(self) -> None:
        """It would run the policies at any time; a test says when."""
        # A job that this ends counts as crashed, and would not run again for five minutes.
        with suppress(psycopg.Error):
            self.query("SELECT _timescaledb_functions.stop_background_workers()")
            self.query("DELETE FROM _timescaledb_internal.bgw_job_stat")

    async def downgrade(self, revision: str = "-1") -> None:
        await run_command(command.downgrade, self.config(), revision)

    async def check(self) -> None:
        """Raises when the models and the database differ."""
        await run_command(command.check, self.config())

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement behind the layer's back; returns its rows."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that commits each statement."""
        return connect(self.url)

    def policies(self) -> dict[str, tuple[Any, ...]]:
        """What each policy is configured with, by its kind and relation."""
        rows = self.query(
            "SELECT proc_name || ' ' || hypertable_name, config - 'hypertable_id'"
            " - 'mat_hypertable_id', schedule_interval FROM timescaledb_information.jobs"
            " WHERE hypertable_name IS NOT NULL"
        )
        return {name.removeprefix("policy_"): tuple(rest) for name, *rest in rows}


@pytest.fixture
def project(tmp_path: Path, pytestconfig: pytest.Config, database_url: URL) -> Project:
    """A project of the test's own, on an empty database."""
    return Project(tmp_path, pytestconfig.rootpath, database_url)


@dataclass
class Migrated:
    """A project whose database is what its models say, for tests that use it in turn."""

    project: Project
    models: str
    revision: str = field(init=False)
    objects: list[tuple[Any, ...]] = field(init=False)

    async def migrate(self) -> None:
        self.project.models(self.models)
        await self.project.autogenerate("first")
        await self.project.upgrade()
        await self.project.check()
        [(self.revision,)] = self.project.query("SELECT version_num FROM alembic_version")
        self.objects = self.project.query(OBJECTS)

    async def restore(self) -> bool:
        """Undo what a test has done; False when that can't be."""
        project = self.project
        project.stop_scheduler()
        if project.query(OBJECTS) != self.objects:
            await project.downgrade(self.revision)
        with project.connect() as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [self.revision])
        for path in project.versions.glob("*.py"):
            if not path.name.endswith("_first.py"):
                path.unlink()
        project.models(self.models)
        empty_tables(project.url)
        # Buckets without their source's rows are history that must not be erased.
        for (name,) in project.query(
            "SELECT format('%I.%I', view_schema, view_name)"
            " FROM timescaledb_information.continuous_aggregates"
        ):
            project.query(f"TRUNCATE {name}")
        return project.query(OBJECTS) == self.objects


@pytest.fixture(scope="session")
def migrated_projects(server: URL) -> Iterator[dict[str, Migrated]]:
    """Those that no test is using, by their models."""
    ready: dict[str, Migrated] = {}
    yield ready
    for migrated in ready.values():
        drop_database(migrated.project.url, server)


@pytest.fixture
async def migrated_project(
    migrated_projects: dict[str, Migrated],
    server: URL,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> AsyncIterator[Callable[[str], Awaitable[Project]]]:
    """Call it with models: a project whose database is what they say, without rows."""
    taken: list[Migrated] = []

    async def take(models: str) -> Project:
        migrated = migrated_projects.pop(models, None)
        if migrated is None:
            project = Project(tmp_path, pytestconfig.rootpath, create_database(server))
            migrated = Migrated(project, models)
            await migrated.migrate()
        taken.append(migrated)
        return migrated.project

    yield take
    for migrated in taken:
        restored = False
        try:
            restored = await migrated.restore()
        finally:
            if restored:
                migrated_projects[migrated.models] = migrated
            else:
                drop_database(migrated.project.url, server)


@pytest.fixture
async def weather(migrated_project: Callable[[str], Awaitable[Project]]) -> Project:
    """The project of the weather stations, without a reading."""
    return await migrated_project(WEATHER)


@pytest.fixture
async def stations(weather: Project) -> AsyncIterator[Database]:
    """The layer on the database of the weather stations, which has three of them."""
    async with Database.open(settings_of(weather.url)) as database:
        async with database.transaction() as session:
            names = ("Brocken", "Fichtelberg", "Zugspitze")
            session.add_all([Station(name=name) for name in names])
        yield database
