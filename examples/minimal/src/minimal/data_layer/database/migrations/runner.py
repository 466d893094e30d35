"""Running Alembic from code: in tests, in the demo, in a deployment of your own."""

import asyncio
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import URL

from ...project import root

P = ParamSpec("P")
T = TypeVar("T")

# Alembic keeps the running environment in module globals (`alembic.context`, `alembic.op`).
_environment = threading.Lock()


def alembic_config(url: URL | str | None = None) -> Config:
    """The project's `alembic.ini`.

    Args:
        url: the database to migrate; without it, the database of the settings.

    Raises:
        DataLayerError: when the current directory is not inside a project.
    """
    config = Config(root() / "alembic.ini")
    if url is not None:
        config.attributes["url"] = url
    return config


async def run_command(
    function: Callable[Concatenate[Config, P], T],
    config: Config,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run a function of `alembic.command` on a thread, one at a time in this process.

    On a thread it can run although an event loop is running already: the environment starts a
    loop of its own.
    """

    def work() -> T:
        with _environment:
            return function(config, *args, **kwargs)

    return await asyncio.to_thread(work)


async def upgrade(url: URL | str | None = None, revision: str = "head") -> None:
    """Upgrade the database at `url` (or of the settings) to `revision`."""
    await run_command(command.upgrade, alembic_config(url), revision)


async def downgrade(url: URL | str | None = None, revision: str = "base") -> None:
    """Downgrade the database at `url` (or of the settings) to `revision`."""
    await run_command(command.downgrade, alembic_config(url), revision)
