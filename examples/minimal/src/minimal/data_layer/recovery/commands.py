"""The commands `backup …`."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..settings import load
from .adapters import tool_of
from .continuity import gap, in_words
from .drill import Checks, drill
from .errors import RecoveryError
from .programs import account, hand_over
from .reports import read
from .server import archiving, connected, describe
from .settings import BackupSettings
from .tool import Backup, Kind, Target, Tool, choose

Folder = Annotated[Path, typer.Option(help="The data directory to fill; it must be empty.")]


def backup_commands(checks: Checks) -> typer.Typer:
    """The group `backup`; the drill asks `checks` of its copy."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

    @group.command()
    def status() -> None:
        """What can be restored: the backups, the WAL between them, the last drill."""
        settings = load(BackupSettings)
        tool = tool_of(settings)
        backups = tool.backups()
        table = Table(show_edge=False, pad_edge=False, header_style="bold")
        for column in ("Backup", "Kind", "Restorable from", "MB", "First WAL"):
            table.add_column(column, no_wrap=True)
        for one in backups:
            moment = f"{one.stopped.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
            table.add_row(one.label, one.kind, moment, f"{one.size / 1e6:.1f}", one.start)
        Console().print(table)
        for sentence in _gap(settings, tool, backups):
            typer.echo(sentence)
        if backups:
            days = (datetime.now(UTC) - backups[0].stopped).total_seconds() / 86_400
            typer.echo(f"{days:.1f} days back, of {settings.retention_days}; by {tool.name}.")
        last = read(settings.report())
        if last is None:
            typer.echo("No drill yet; type `backup drill`.")
        else:
            result = "succeeded" if last["ok"] else "FAILED"
            typer.echo(f"The drill of {last['started']} {result}.")

    @group.command()
    def prepare() -> None:
        """Make the server archive its WAL into the repository; wants a superuser, once."""
        typer.echo(tool_of(load(BackupSettings)).prepare())

    @group.command("run")
    def run_(kind: Annotated[Kind, typer.Argument(help="How much to copy.")]) -> None:
        """Make a backup, and drop what the retention needs no more."""
        settings = load(BackupSettings)
        tool = tool_of(settings)
        backup = tool.run(kind)
        typer.echo(f"{backup.label}: {backup.size / 1e6:.1f} MB, restorable from now on.")
        if tool.exercise:
            typer.echo("An exercise on this machine, and no backup: BACKUP_TOOL=exercise.")

    @group.command()
    def verify() -> None:
        """Read every byte that is kept, and look for gaps; exits with 1 if anything is wrong."""
        settings = load(BackupSettings)
        tool = tool_of(settings)
        backups = tool.backups()
        faults = [*tool.verify(), *_gap(settings, tool, backups)]
        for fault in faults:
            typer.echo(fault)
        if faults:
            typer.echo("Make a full backup now, then look for the cause.")
            raise typer.Exit(1)
        typer.echo(f"Backups read: {len(backups)}. All is as it was written.")

    @group.command("drill")
    def drill_(
        scratch: Annotated[
            Path | None, typer.Option(help="A folder with room for a copy of the database.")
        ] = None,
    ) -> None:
        """Restore into a private copy and judge it; exits with 1 if anything is not as it was."""
        settings = load(BackupSettings)
        tool = tool_of(settings)
        if tool.exercise:
            typer.echo(f"An exercise, with {tool.name}.")
        report = drill(settings, tool, checks, scratch=scratch, say=typer.echo)
        typer.echo(f"The report is {settings.report()}.")
        if not report.ok:
            typer.echo("The drill failed.")
            raise typer.Exit(1)
        typer.echo(
            f"The drill succeeded: recovered in {report.recovery_seconds:.0f} s; a server lost now "
            f"takes its last {report.loss_seconds:.0f} s with it."
        )

    @group.command()
    def restore(
        to: Annotated[
            str,
            typer.Option(
                metavar="TIME|NAME|latest",
                help="A moment with its time zone, as 2026-11-28T05:00:00+00:00, the name of a "
                "restore point, or latest.",
            ),
        ],
        into: Folder,
        label: Annotated[
            str | None,
            typer.Option("--from", metavar="LABEL", help="Begin with this backup; see `status`."),
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Delete what the folder holds.")
        ] = False,
        takes_over: Annotated[
            bool, typer.Option(help="It will be the server, and archive as the lost one did.")
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ) -> None:
        """Fill a data directory so that a server started on it recovers to that point."""
        settings = load(BackupSettings)
        tool = tool_of(settings)
        target = Target.parse(to)
        backup = choose(tool.backups(), target, label)
        into = into.absolute()
        holds = any(into.iterdir()) if into.is_dir() else into.exists()
        _refuse(into, holds, overwrite)
        typer.echo(f"Restore {backup.label} of {backup.stopped:%Y-%m-%d %H:%M:%S %Z} into {into},")
        archives = "archives as the lost server did" if takes_over else "archives nothing"
        typer.echo(f"to recover to {target.value or 'the latest moment'}; it {archives} then.")
        if holds:
            typer.echo("What the folder holds is deleted first.")
        if not yes:
            typer.confirm("Go on?", abort=True)
        if holds:
            shutil.rmtree(into)
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        hand_over(into, account(settings))
        tool.restore(into, target, backup, takes_over=takes_over)
        typer.echo(f"Done. Start it, and it recovers: pg_ctl -D {into} start")

    return group


def _refuse(into: Path, holds: bool, overwrite: bool) -> None:
    if (into / "postmaster.pid").exists():
        raise RecoveryError(f"A server runs on {into}, or died on it; stop it first.")
    if holds and not overwrite:
        raise RecoveryError(f"{into} is not empty; name another folder, or add --overwrite.")


def _gap(settings: BackupSettings, tool: Tool, backups: list[Backup]) -> list[str]:
    """A sentence about the WAL or the backup that is missing; none when nothing is."""
    if not backups:
        return ["There is no backup; type `backup run full`."]
    try:
        with connected(settings.connection()) as connection:
            of = (describe(connection), archiving(connection))
    except RecoveryError as error:
        # In the night when somebody needs a restore, there is no server.
        typer.echo(f"{error} The archive is judged without it.")
        names = gap(backups, tool.archive())
    else:
        names = gap(backups, tool.archive(), *of)
    return [f"The archive lacks {in_words(names)}."] if names else []
