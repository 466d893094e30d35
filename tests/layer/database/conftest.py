from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text

from my_project.data_layer.database import (
    Database,
    DatabaseSettings,
    create_engine,
)

from .tables import SCHEMA, Model

OpenDatabase = Callable[..., Database]


@pytest.fixture(scope="package", autouse=True)
async def _tables(database_settings: DatabaseSettings) -> AsyncIterator[None]:
    async with Database.open(database_settings) as database:
        async with database.transaction() as session:
            await session.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            connection = await session.connection()
            await connection.run_sync(Model.metadata.create_all)
            await session.execute(
                text(f"CREATE TABLE {SCHEMA}.bar_all PARTITION OF {SCHEMA}.bar DEFAULT")
            )
        yield
        async with database.transaction() as session:
            await session.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))


@pytest.fixture
async def open_database(
    database_settings: DatabaseSettings, database: Database
) -> AsyncIterator[OpenDatabase]:
    """Opens further databases on the same server, with settings that the test gives."""
    opened: list[Database] = []

    def open_(**settings: Any) -> Database:
        changed = database_settings.model_copy(update=settings)
        opened.append(Database(create_engine(changed)))
        return opened[-1]

    yield open_
    for one in opened:
        await one.dispose()
