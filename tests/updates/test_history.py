"""The revisions of a module that is switched off still run: they are yours, and stay."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.engines.timescaledb import timescaledb
from tests.projects import commit_all
from tests.updates.conftest import Typed, begin, database, update


@pytest.fixture(scope="module")
def time_series() -> Iterator[str]:
    with timescaledb() as url:
        yield url


def test_a_history_of_time_series_outlives_the_module(
    current: Path, environment: Path, tmp_path: Path, time_series: str, embedded: str
) -> None:
    project = begin(current, tmp_path / "project", modules=["timescaledb"])
    typed = Typed(project, environment)
    filled, empty = database(time_series, "filled"), database(embedded, "empty")
    typed("alembic", "upgrade", "head", DATABASE_URL=filled)
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO instruments (symbol, name, currency, tick_size)"
            " VALUES ('AAPL', 'Apple', 'USD', 0.01)"
        )
        connection.execute(
            "INSERT INTO trades SELECT id, '2026-01-01Z'::timestamptz + day * INTERVAL '1 day',"
            " 1, 5, 7 FROM instruments, generate_series(1, 30) AS day"
        )

    # What the page says: no declaration, a revision that makes the tables plain, then the update.
    for folder in ("src/my_project/market", "tests/market"):
        shutil.rmtree(project / folder / "timescaledb")
    typed("alembic", "revision", "--autogenerate", "-m", "keep plain tables", DATABASE_URL=filled)
    typed("alembic", "upgrade", "head", DATABASE_URL=filled)
    commit_all(project, "Keep plain tables")
    update(project, modules=[])

    for url in (filled, empty):
        typed("alembic", "upgrade", "head", DATABASE_URL=url)
        typed("alembic", "check", DATABASE_URL=url)
    typed("alembic", "downgrade", "base", DATABASE_URL=empty)
    script = typed("alembic", "upgrade", "head", "--sql").stdout
    assert "CREATE TABLE trades" in script
    assert "hypertable" not in script

    # The rows are there; and now a database that was not upgraded before the update.
    with psycopg.connect(filled, autocommit=True) as connection:
        kept = connection.execute("SELECT count(*), sum(quantity) FROM trades").fetchone()
        assert kept == (30, 210)
        connection.execute("TRUNCATE trades")
        connection.execute("UPDATE alembic_version SET version_num = 'dd6fdabf55be'")
        connection.execute("SELECT create_hypertable('trades', by_range('executed_at'))")
    refused = typed("alembic", "upgrade", "head", DATABASE_URL=filled, check=False)
    assert refused.returncode != 0
    assert "has trades in TimescaleDB, which is switched off here" in refused.stdout
    assert "Traceback" not in refused.stderr
    refused = typed("alembic", "upgrade", "dd6fdabf55be:head", "--sql", check=False)
    assert "a script can't ask the database" in refused.stdout
