"""The fixtures: a database of its own for each worker, and no touch on any other."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, text

from my_project.data_layer.database import (
    Database,
    DatabaseSettings,
)
from my_project.data_layer.devservers.postgresql import EmbeddedServer
from my_project.data_layer.errors import DataLayerError
from my_project.data_layer.settings import load
from tests.data_layer import fixtures
from tests.data_layer.fixtures import PREFIX, DatabaseRun, connect
from tests.layer import has

# The embedded server has no TimescaleDB, which the migrations of such a project want.
MIGRATED = str(int(not has("timescaledb")))


@pytest.mark.parametrize("run", [1, 2])
async def test_a_test_finds_empty_tables(database: Database, run: int) -> None:
    async with database.transaction() as session:
        await session.execute(
            text(
                "CREATE TABLE IF NOT EXISTS fixtures_parent"
                " (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)"
            )
        )
        await session.execute(
            text(
                "CREATE TABLE IF NOT EXISTS fixtures_child"
                " (parent_id bigint NOT NULL REFERENCES fixtures_parent)"
            )
        )
    async with database.transaction() as session:
        key = await session.scalar(text("INSERT INTO fixtures_parent DEFAULT VALUES RETURNING id"))
        await session.execute(text("INSERT INTO fixtures_child VALUES (:key)"), {"key": key})
        assert key == 1
        assert await session.scalar(text("SELECT count(*) FROM fixtures_child")) == 1


async def test_the_database_is_migrated(database: Database) -> None:
    migrated = os.environ.get("TEST_MIGRATIONS") != "0"
    async with database.read_only() as session:
        found = await session.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    assert found == migrated


def test_an_empty_database_has_no_table(empty_database_url: URL, database_url: URL) -> None:
    assert empty_database_url.database != database_url.database
    with connect(empty_database_url) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)


def test_this_run_drops_only_what_it_created(database_run: DatabaseRun) -> None:
    for name in ("postgres", f"{PREFIX}of_another_run"):
        with pytest.raises(DataLayerError, match="did not create"):
            database_run.drop(name)


def test_a_transaction_left_open_is_an_error_and_no_hang(empty_database_url: URL) -> None:
    with connect(empty_database_url) as connection, connect(empty_database_url) as other:
        connection.execute("CREATE TABLE held AS SELECT 1 AS number")
        with other.transaction():
            other.execute("SELECT * FROM held")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                fixtures.empty_tables(empty_database_url)


def test_the_developers_own_database_is_out_of_reach() -> None:
    assert load(DatabaseSettings).sqlalchemy_url().port == 1


def databases(server: EmbeddedServer) -> set[str]:
    with connect(server.url) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


@pytest.fixture
def inhabited_server(own_server: EmbeddedServer) -> EmbeddedServer:
    """A server with databases of somebody else's."""
    with connect(own_server.url) as connection:
        connection.execute("CREATE DATABASE precious")
        connection.execute(f'CREATE DATABASE "{PREFIX}of_another_run"')
    with connect(own_server.url.set(database="precious")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    return own_server


def test_two_workers_leave_a_server_as_it_was(
    inhabited_server: EmbeddedServer, pytestconfig: pytest.Config
) -> None:
    before = databases(inhabited_server)

    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider"),
            *("-k", "finds_empty_tables or is_migrated", __file__),
        ],
        cwd=pytestconfig.rootpath,
        env=os.environ
        | {
            "TEST_DATABASE_URL": inhabited_server.url.render_as_string(hide_password=False),
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:2/production",
            "TEST_MIGRATIONS": MIGRATED,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert "3 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "PostgreSQL of these tests: TEST_DATABASE_URL" in ended.stdout
    assert databases(inhabited_server) == before
    with connect(inhabited_server.url.set(database="precious")) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)


def test_a_run_drops_all_it_created_and_nothing_else(
    inhabited_server: EmbeddedServer,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = databases(inhabited_server)
    monkeypatch.setenv(
        "TEST_DATABASE_URL", inhabited_server.url.render_as_string(hide_password=False)
    )
    monkeypatch.setenv("TEST_MIGRATIONS", MIGRATED)
    run = DatabaseRun(pytestconfig.rootpath)
    run.start()
    of_a_crashed_worker = run.create(template=run.template)

    with connect(run.url(of_a_crashed_worker)) as connection:
        assert len(databases(inhabited_server) - before) == 2
        run.close()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    assert databases(inhabited_server) == before


def test_migrations_that_fail_leave_no_database(
    own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = databases(own_server)
    monkeypatch.setenv("TEST_DATABASE_URL", own_server.url.render_as_string(hide_password=False))
    monkeypatch.delenv("TEST_MIGRATIONS", raising=False)
    run = DatabaseRun(tmp_path)

    with pytest.raises(DataLayerError, match=r"No alembic\.ini"):
        run.start()
    assert databases(own_server) != before
    run.close()

    assert databases(own_server) == before


def test_a_role_that_may_not_create_databases_is_named(
    own_server: EmbeddedServer, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(own_server.url) as connection:
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'a plain password'")
    url = own_server.url.set(username="plain", password="a plain password")
    monkeypatch.setenv("TEST_DATABASE_URL", url.render_as_string(hide_password=False))
    run = DatabaseRun(pytestconfig.rootpath)

    with pytest.raises(DataLayerError, match='let a superuser type: ALTER ROLE "plain" CREATEDB;'):
        run.start()

    assert run.tell()["error"] == run.error
    with pytest.raises(pytest.fail.Exception, match="The role plain of TEST_DATABASE_URL may not"):
        run.url()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("postgresql://nobody@127.0.0.1:1/postgres", "The server of TEST_DATABASE_URL does not"),
        ("mysql://root@127.0.0.1/test", "TEST_DATABASE_URL is not of the form postgresql://"),
        ("nonsense", "TEST_DATABASE_URL is not of the form postgresql://"),
    ],
)
def test_a_wrong_test_database_url_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, sentence: str
) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", given)

    with pytest.raises(DataLayerError, match=sentence):
        DatabaseRun(tmp_path).start()


def test_without_any_engine_the_three_ways_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = DatabaseRun(tmp_path)

    with pytest.raises(DataLayerError):
        run.start()

    assert run.tell()["error"] == run.error
    assert "TEST_DATABASE_URL" in run.error
    assert "Docker" in run.error
    assert "uv sync --group embedded" in run.error
    with pytest.raises(pytest.fail.Exception, match="There is no database for the tests"):
        run.url()


def test_docker_that_lacks_the_image_falls_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_image(stack: contextlib.ExitStack) -> URL:
        raise RuntimeError("pull access denied")

    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    monkeypatch.setattr(fixtures, "_why_no_docker", lambda: "")
    monkeypatch.setattr(fixtures, "_postgres_of_docker", no_image)

    with contextlib.ExitStack() as stack:
        url, engine = fixtures._server(stack)
        connect(url).close()
    assert engine == "embedded PostgreSQL 18 (Docker is not there: pull access denied.)"
