"""The tables come with the first declaration, by autogenerate, and not before."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import URL, Connection, Integer, MetaData, Table
from sqlalchemy.schema import Column

from my_project.data_layer.database import NAMING_CONVENTION, Base, Database
from my_project.data_layer.sagas import InvalidSaga, models
from tests.data_layer.fixtures import settings_of

WHEN = """
from pydantic import BaseModel
from my_project.data_layer.database import Base
from my_project.data_layer import wiring
[check.id for check in wiring.checks(["DL-SA"])]
from my_project.data_layer.sagas import Saga, Topic, calling, publish
print(*Base.metadata.tables)
Saga("tests.first", BaseModel)
print(*Base.metadata.tables)
Topic("tests.first", calling(print))
print(*Base.metadata.tables)
"""


def test_a_table_is_there_once_something_is_declared_that_needs_it() -> None:
    done = subprocess.run([sys.executable, "-c", WHEN], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [
        "",
        "sagas saga_steps",
        "sagas saga_steps outbox_messages",
        "",
    ]


async def test_autogenerate_makes_them_and_then_sees_no_difference(
    empty_database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Base, "metadata", MetaData(naming_convention=NAMING_CONVENTION))
    models.declare(models.SagaRow, models.StepRow, models.OutboxRow)

    def migrate(connection: Connection) -> None:
        context = MigrationContext.configure(connection)
        made = produce_migrations(context, Base.metadata)
        assert made.upgrade_ops is not None
        for operation in made.upgrade_ops.ops:
            # The indexes of a table are one operation with several in it.
            for one in getattr(operation, "ops", [operation]):
                Operations(context).invoke(one)
        options = {"compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        assert compare_metadata(context, models.Own.metadata) == []

    async with (
        Database.open(settings_of(empty_database_url)) as database,
        database.engine.begin() as connection,
    ):
        await connection.run_sync(migrate)


def test_a_table_of_yours_with_that_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = MetaData()
    Table("outbox_messages", own, Column("id", Integer, primary_key=True))
    monkeypatch.setattr(Base, "metadata", own)
    with pytest.raises(InvalidSaga, match="A model of yours has the table outbox_messages"):
        models.declare(models.OutboxRow)
