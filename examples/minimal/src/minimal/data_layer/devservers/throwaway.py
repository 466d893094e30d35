"""The PostgreSQL of `demo` and `embedded`: migrated, and removed when the command ends."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import URL

from .. import checklist, wiring
from ..checklist import Check
from ..database import Database, DatabaseSettings
from ..database.migrations import upgrade
from ..errors import DataLayerError
from ..project import PACKAGE, root

Story = Callable[[Database, Console], Awaitable[None]]


def show(story: Story | None, checks: Sequence[Check], server: str | None) -> checklist.Report:
    """Run the story and then the checks on a throwaway database, and show both.

    Args:
        story: what to run; without a story, a line says how to pass one.
        checks: what is asked afterwards.
        server: the URL of an existing server, to use instead of an embedded one.

    Raises:
        DataLayerError: the server can't be used, or the story says what is wrong.
    """
    console = Console()
    begun = time.monotonic()
    with _throwaway_database(console, server) as url, wiring.embedded_services() as services:
        os.environ.update(_environment(url) | services)

        async def tell() -> checklist.Report:
            if story is None:
                console.print(
                    "No story to tell: pass one as `create_cli(story=…)` in __main__.py.",
                    markup=False,
                )
            else:
                async with Database.open() as database:
                    await story(database, console)
            console.rule("The checklist")
            return await checklist.run(checks)

        report = asyncio.run(tell())
        checklist.print_table(report, console)
    removed = "database is" if server else "server and its data are"
    console.print(
        f"The {removed} removed. {time.monotonic() - begun:.1f} s in all.",
        highlight=False,
    )
    return report


def run(command: Sequence[str], server: str | None) -> int:
    """Run a command whose DATABASE_URL leads to a throwaway database; returns its exit code.

    Raises:
        DataLayerError: the server can't be used, or the command can't be run.
    """
    console = Console(stderr=True)
    with _throwaway_database(console, server) as url, wiring.embedded_services() as services:
        variables = _environment(url) | services
        # This project's own commands are beside its Python, also where nobody activated it.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        try:
            child = subprocess.Popen(command, env=os.environ | variables | {"PATH": path})
        except OSError as error:
            raise DataLayerError(f"{command[0]} can't be run: {error.strerror}.") from None
        with _signals_to(child):
            code = child.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _signals_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let the child decide what Ctrl-C and SIGTERM mean, and wait for it."""

    def forward(number: int, _frame: object) -> None:
        # A terminal sends Ctrl-C to the child as well; a second signal would mean "at once".
        if not (number == signal.SIGINT and _in_foreground()):
            child.send_signal(number)

    before = {
        number: signal.signal(number, forward)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


@contextmanager
def _throwaway_database(console: Console, given: str | None) -> Iterator[URL]:
    """A new migrated database, on the given server or an embedded one; it is gone at the end."""
    root()  # outside a project there is nothing to migrate: say so before a server starts
    with console.status("Starting …") as status, _server(given) as (server, kind):
        name = PACKAGE if given is None else f"{PACKAGE}_demo_{secrets.token_hex(4)}"
        address = server.translate_connect_args(username="user", database="dbname")
        with psycopg.connect(**address, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            version = connection.info.parameter_status("server_version")
        try:
            console.print(
                f"PostgreSQL {version} ({kind}) on {server.host}:{server.port}, as a throwaway.",
                highlight=False,
            )
            url = server.set(database=name)
            status.update("Migrating …")
            asyncio.run(upgrade(url))
            console.print("Migrated to the head.")
            status.stop()
            yield url
        finally:
            if given is not None:
                with psycopg.connect(**address, autocommit=True) as connection:
                    dropping = sql.SQL("DROP DATABASE {} WITH (FORCE)")
                    connection.execute(dropping.format(sql.Identifier(name)))


@contextmanager
def _server(given: str | None) -> Iterator[tuple[URL, str]]:
    if given is not None:
        settings = DatabaseSettings(_env_file=None, url=SecretStr(given), password=None)
        yield settings.sqlalchemy_url(), "yours"
        return
    from .postgresql import embedded_server

    # A crash of the machine may take this database with it.
    with embedded_server(durable=False) as server:
        yield server.url, "embedded"


def _environment(url: URL) -> dict[str, str]:
    """The variables that make this project use that database, whatever `.env` says."""
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return {
        "DATABASE_URL": text,
        "MIGRATION_URL": text,
        "BACKUP_TOOL": "none",
        "DATABASE_TRANSACTION_POOLER": "false",
    }
