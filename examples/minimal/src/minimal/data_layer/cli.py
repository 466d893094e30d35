"""The command line: init, check, next, demo, embedded, and the groups that the modules add.

A command imports what it alone needs only when it runs, so that the others start at once.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup
from typer.main import get_group

from . import dotenv, wiring
from .atomic import replacing
from .errors import DataLayerError
from .project import ADOPTED, COMMAND, PROGRAM, import_all, root

if TYPE_CHECKING:
    from .checklist import Check, Report
    from .devservers.throwaway import Story

Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Make the throwaway database on this server, postgresql://…, not an embedded one.",
    ),
]

# Seconds between two reports of `check --watch`.
WATCHED_EVERY = 5.0

EXAMPLES = f"""
**Examples**

`{COMMAND} init` — write `.env` with generated passwords

`{COMMAND} check --only DL-MIG` — ask about the migrations only

`{COMMAND} check --prometheus /var/lib/node_exporter/checks.prom` — let the monitoring know

`{COMMAND} demo` — see the data layer at work on a PostgreSQL of its own

`{COMMAND} embedded {COMMAND} check` — run a command against a throwaway database
"""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DataLayerError as error:
            Console(stderr=True).print(Text(f"Error: {error}", "bold red"), soft_wrap=True)
            raise typer.Exit(2) from None


def _late(load: Callable[[], typer.Typer]) -> type[TyperGroup]:
    """A group that is loaded when it is called; `--help` lists it without loading it."""

    class Late(TyperGroup):
        def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
            group = get_group(load())
            group.help = self.help
            return group.make_context(info_name, args, parent, **extra)

    return Late


def create_cli(
    *,
    story: "Story | None" = None,
    checks: "Sequence[Check]" = (),
    declares: Sequence[str] = (),
) -> typer.Typer:
    """The project's command line; add commands of your own to the returned `Typer`.

    A `DataLayerError` in any command becomes one line on stderr and the exit code 2.

    Args:
        story: `demo` runs it on an empty migrated database; it tells the console what it does.
        checks: checks of your own, which `check` asks after the layer's.
        declares: the full names of modules that declare something for the layer, such as a task;
            a package stands for every module in it. The commands and checks that need these
            declarations import the modules.
    """

    def declare() -> None:
        for name in declares:
            import_all(name)

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
        prometheus: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Write the verdicts for a textfile collector, too."),
        ] = None,
        only: Annotated[
            list[str] | None,
            typer.Option(metavar="ID", help="Ask only checks whose id begins so; repeatable."),
        ] = None,
        list_only: Annotated[
            bool, typer.Option("--list", help="List the checks and ask none.")
        ] = False,
        watch: Annotated[
            bool, typer.Option("--watch", help="Ask again and again, until Ctrl-C.")
        ] = False,
    ) -> None:
        """Ask the running project whether it follows the standard.

        The exit code is 1 when a required check failed. Where there is no `pyproject.toml`, as in
        an image, the checks of the repository are asked only when `--only` names them.
        """
        if as_json + as_markdown + list_only + watch > 1:
            raise DataLayerError(
                "--json, --markdown, --list and --watch exclude each other; give one."
            )
        import asyncio

        from . import checklist

        prefixes = [prefix.upper() for prefix in only or []]

        def chosen() -> "list[Check]":
            # Make new checks each time: they share one answer, and keep it.
            return _chosen([*wiring.checks(prefixes, declare), *checks], prefixes)

        if list_only:
            for one in chosen():
                typer.echo(f"{one.id}  {one.title}{'' if one.required else ' (not required)'}")
            return
        in_image = not prefixes and _in_image()
        if in_image:
            typer.echo("Without pyproject.toml: the deployment alone is asked about.", err=True)

        def ask() -> checklist.Report:
            wanted = (one for one in chosen() if not (in_image and one.of_repository))
            return asyncio.run(checklist.run(wanted))

        if watch:
            _show_until_told(ask)
            return
        report = ask()
        if prometheus:
            with replacing(prometheus) as part:
                part.write_text(checklist.as_prometheus(report, time.time()), encoding="utf-8")
        if as_json:
            typer.echo(checklist.as_json(report))
        elif as_markdown:
            typer.echo(checklist.as_markdown(report))
        else:
            checklist.print_table(report, Console())
        raise typer.Exit(0 if report.ok else 1)

    @cli.command("next")
    def next_() -> None:
        """Say what to do next, in order: what the checks advise."""
        import asyncio

        from . import checklist

        report = asyncio.run(checklist.run([*wiring.checks(declare=declare), *checks]))
        steps = checklist.remedies(report) or ["Nothing: every check holds."]
        for number, step in enumerate(steps, start=1):
            typer.echo(f"{number}. {step}")

    @cli.command()
    def demo(server: Server = None) -> None:
        """See the data layer at work: a PostgreSQL of its own, migrated, used, checked, removed.

        Your own database and `.env` play no part.
        """
        from .devservers.throwaway import show

        report = show(story, [*wiring.checks(declare=declare), *checks], server)
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
        from .devservers.throwaway import run

        raise typer.Exit(run(command, server))

    for name, (line, load) in wiring.command_groups(declare, checks).items():
        cli.add_typer(typer.Typer(cls=_late(load), help=line), name=name)
    return cli


def _in_image() -> bool:
    """Whether the project is here without its repository."""
    try:
        return not (root() / "pyproject.toml").is_file()
    except DataLayerError:
        return False  # the project is missing, too; the checks say so


def _show_until_told(ask: "Callable[[], Report]") -> None:
    from . import checklist

    console = Console()
    with suppress(KeyboardInterrupt):
        while True:
            report = ask()
            console.clear()
            checklist.print_table(report, console)
            time.sleep(WATCHED_EVERY)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata

    try:
        version = metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        raise DataLayerError(f"{PROGRAM} is not installed; run `uv sync`.") from None
    typer.echo(f"{PROGRAM} {version}")
    raise typer.Exit


def _init() -> None:
    project = root()
    # A second checkout with the same name would take over the servers of the first one.
    checkout = {"COMPOSE_PROJECT_NAME": f"{PROGRAM}-{secrets.token_hex(2)}"}
    written = dotenv.write(project, new={} if ADOPTED else checkout)
    # The servers in the containers run as other users. They must be able to read these files,
    # whatever the umask of the person who copied or cloned them.
    ops = project / "ops"
    for path in (ops, *ops.rglob("*")) if ops.is_dir() else ():
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
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
        f"  uv run {COMMAND} check{' ' * max(1, 18 - len(COMMAND))}proves that all is in place\n"
        f"Without Docker: uv run {COMMAND} demo"
    )


def _chosen(checks: "Sequence[Check]", prefixes: Sequence[str]) -> "list[Check]":
    for prefix in prefixes:
        if not any(check.id.startswith(prefix) for check in checks):
            raise DataLayerError(
                f"No check's id begins with {prefix}; `{COMMAND} check --list` shows them all."
            )
    return [check for check in checks if not prefixes or check.id.startswith(tuple(prefixes))]
