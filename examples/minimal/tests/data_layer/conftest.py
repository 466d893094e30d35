"""What only the tests of the layer need."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from typer.testing import CliRunner, Result

from . import layer
from .things import Own

Ask = Callable[..., Awaitable[None]]


@pytest.fixture
async def things(database: layer.database.Database) -> AsyncIterator[layer.database.Database]:
    """The database with the table of `Thing`."""
    async with database.engine.begin() as connection:
        await connection.run_sync(Own.metadata.create_all)
    yield database
    async with database.engine.begin() as connection:
        await connection.run_sync(Own.metadata.drop_all)


def typed(*arguments: str) -> Result:
    """What the layer's command line does with these arguments."""
    return CliRunner().invoke(layer.cli.create_cli(), arguments, env={"COLUMNS": "200"})


@pytest.fixture
def ask() -> Ask:
    """Run the checks with these ids on the project, and fail with those that fail."""

    async def ask(*ids: str) -> None:
        only = [argument for id_ in ids for argument in ("--only", id_)]
        # On a thread: the command runs an event loop of its own.
        done = await asyncio.to_thread(typed, "check", "--json", *only)
        report = json.loads(done.stdout)
        assert [check for check in report["checks"] if check["verdict"] == "failed"] == []
        assert {check["id"] for check in report["checks"]} == set(ids)
        assert done.exit_code == 0

    return ask
