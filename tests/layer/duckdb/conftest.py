"""A lake of the test's own, and tables on an empty database."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from my_project.data_layer.database import Database
from my_project.data_layer.duckdb import (
    DuckDBSettings,
    Export,
    Exported,
    Lake,
    declarations,
    export,
)
from tests.data_layer.fixtures import connect, settings_of


@pytest.fixture(autouse=True)
def _no_exports_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "_declared", {})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(settings(tmp_path))


def settings(folder: Path, **others: Any) -> DuckDBSettings:
    """Two threads, so that exports share a snapshot; nothing of the developer's environment."""
    values: dict[str, Any] = {"lake": folder / "lake", "readable": (), "threads": 2} | others
    return DuckDBSettings(_env_file=None, **values)


class Source:
    """A PostgreSQL with one table after another, behind the layer's back."""

    def __init__(self, url: URL, database: Database) -> None:
        self.url = url
        self.database = database

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, each committed; the rows of the last one."""
        with connect(self.url) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    async def export(self, lake: Lake, declared: Export, **options: Any) -> Exported:
        return await export(self.database, lake, declared, **options)


@pytest.fixture
def source_url(empty_database_url: URL) -> URL:
    return empty_database_url


@pytest.fixture
async def source(source_url: URL) -> AsyncIterator[Source]:
    # A busy machine takes longer for a third of a million rows than an application would wait.
    patient = settings_of(source_url).model_copy(update={"statement_timeout": 600.0})
    async with Database.open(patient) as database:
        yield Source(source_url, database)


@pytest.fixture
def ticks(source: Source) -> Callable[[str, str, str], None]:
    """A table `ticks`, and what fills it: from, to, every."""
    source.run(
        "CREATE TABLE ticks (moment timestamptz PRIMARY KEY, n bigint, price numeric(12, 4))"
    )

    def fill(since: str, until: str, every: str) -> None:
        source.run(
            "INSERT INTO ticks SELECT t, extract(epoch FROM t), extract(day FROM t) / 8"
            f" FROM generate_series('{since}'::timestamptz, '{until}', '{every}') AS t"
        )

    return fill


@pytest.fixture
def names(lake: Lake) -> Callable[[], list[str]]:
    """What the lake holds, hidden files too, but for the locks."""
    return lambda: sorted(
        path.name for path in lake.folder.iterdir() if not path.name.endswith(".lock")
    )
