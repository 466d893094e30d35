"""The command line: init, check, demo, embedded, and the groups that the modules add."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg import sql
from pydantic import SecretStr
from rich.console import Console
from rich.text import Text
from sqlalchemy import URL
from typer.core import TyperGroup

from . import checklist, dotenv, wiring
from .checklist import Check
from .database import Database, DatabaseSettings
from .database.migrations import upgrade
from .errors import DataLayerError
from .project import root

Story = Callable[[Database, Console], Awaitable[None]]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Make the throwaway database on this server, postgresql://…, not an embedded one.",
    ),
]

PACKAGE = __name__.partition(".")[0]
PROGRAM = PACKAGE.replace("_", "-")

EXAMPLES = f"""
**Examples**

`{PROGRAM} init` — write `.env` with generated passwords

`{PROGRAM} check --only DL-MIG` — ask about the migrations only

`{PROGRAM} demo` — see the data layer at work on a PostgreSQL of its own

`{PROGRAM} embedded {PROGRAM} check` — run a command against a throwaway database
"""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DataLayerError as error:
            Console(stderr=True).print(Text(f"Error: {error}", "bold red"), soft_wrap=True)
            raise typer.Exit(2) from None


def create_cli(*, story: Story | None = None, checks: Sequence[Check] = ()) -> typer.Typer:
    """The project's command line; add commands of your own to what it returns.

    A `DataLayerError` in any command becomes one line on stderr and the exit code 2.

    Args:
        story: what `demo` runs on an empty migrated database, telling the console what it does.
        checks: checks of your own, which `check` asks after the layer's.
    """
    cli = typer.Typer(
        name=PROGRAM,
        cls=_Group,
        help="The data layer of this project: set up, check, see at work.",
        epilog=EXAMPLES,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @cli.callback()
    def main(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_print_version, is_eager=True, help="The version."),
        ] = False,
    ) -> None: ...

    @cli.command()
    def init() -> None:
        """Write `.env` from `.env.example`, with generated secrets.

        What `.env` already holds stays as it is. The file is readable by you alone, and git must
        ignore it.
        """
        _init()

    @cli.command()
    def check(
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
        as_markdown: Annotated[
            bool, typer.Option("--markdown", help="Print Markdown, for a review.")
        ] = False,
        only: Annotated[
            list[str] | None,
            typer.Option(metavar="ID", help="Ask only checks whose id begins so; repeatable."),
        ] = None,
        list_only: Annotated[
            bool, typer.Option("--list", help="List the checks and ask none.")
        ] = False,
    ) -> None:
        """Ask the running project whether it follows the standard.

        The exit code is 1 when a required check failed.
        """
        if as_json + as_markdown + list_only > 1:
            raise DataLayerError("--json, --markdown and --list exclude each other; give one.")
        chosen = _chosen([*wiring.checks(), *checks], only or [])
        if list_only:
            for one in chosen:
                typer.echo(f"{one.id}  {one.title}{'' if one.required else ' (not required)'}")
            return
        report = asyncio.run(checklist.run(chosen))
        if as_json:
            typer.echo(checklist.as_json(report))
        elif as_markdown:
            typer.echo(checklist.as_markdown(report))
        else:
            checklist.print_table(report, Console())
        raise typer.Exit(0 if report.ok else 1)

    @cli.command()
    def demo(server: Server = None) -> None:
        """See the data layer at work: a PostgreSQL of its own, migrated, used, checked, removed.

        Your own database and `.env` play no part.
        """
        report = _demo(story, [*wiring.checks(), *checks], server)
        raise typer.Exit(0 if report.ok else 1)

    @cli.command(
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
    )
    def embedded(
        command: Annotated[
            list[str], typer.Argument(metavar="COMMAND…", help="What to run, with its arguments.")
        ],
        server: Server = None,
    ) -> None:
        """Run a command with a throwaway PostgreSQL, migrated, in DATABASE_URL.

        The exit code is the command's own.
        """
        raise typer.Exit(_embedded(command, server))

    for name, group in wiring.command_groups().items():
        cli.add_typer(group, name=name)
    return cli


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        version = metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        raise DataLayerError(f"{PROGRAM} is not installed; run `uv sync`.") from None
    typer.echo(f"{PROGRAM} {version}")
    raise typer.Exit


def _init() -> None:
    written = dotenv.write(root())
    if written.created:
        typer.echo("Wrote .env, which git ignores and only you can read.")
    elif written.generated or written.added:
        typer.echo("Completed .env; what it held already is unchanged.")
    else:
        typer.echo(".env is complete; nothing was changed.")
    if written.generated:
        typer.echo(f"Generated: {', '.join(written.generated)}.")
    if written.added:
        typer.echo(f"From .env.example: {', '.join(written.added)}.")
    typer.echo(
        "\nNext:\n"
        "  docker compose up -d --wait    starts PostgreSQL with these passwords\n"
        "  uv run alembic upgrade head    creates the tables\n"
        f"  uv run {PROGRAM} check{' ' * max(1, 18 - len(PROGRAM))}proves that all is in place\n"
        f"Without Docker: uv run {PROGRAM} demo"
    )


def _chosen(checks: Sequence[Check], prefixes: Sequence[str]) -> list[Check]:
    for prefix in prefixes:
        if not any(check.id.startswith(prefix.upper()) for check in checks):
            raise DataLayerError(
                f"No check's id begins with {prefix}; `{PROGRAM} check --list` shows them all."
            )
    wanted = tuple(prefix.upper() for prefix in prefixes)
    return [check for check in checks if not wanted or check.id.startswith(wanted)]


def _demo(story: Story | None, checks: Sequence[Check], server: str | None) -> checklist.Report:
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


def _embedded(command: Sequence[str], server: str | None) -> int:
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
        # A terminal sends Ctrl-C to the child as well; a second one would mean "at once".
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
    """A migrated database of its own, on a server that is given or embedded; gone at the end."""
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
    from .database.embedded import embedded_server

    # A crash of the machine may take this database with it.
    with embedded_server(durable=False) as server:
        yield server.url, "embedded"


def _environment(url: URL) -> dict[str, str]:
    """What makes this project use that database, whatever `.env` says."""
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return {
        "DATABASE_URL": text,
        "MIGRATION_URL": text,
        "DATABASE_TRANSACTION_POOLER": "false",
    }
