"""The commands `export run`, `ls`, `query`, `verify` and `prune`."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..atomic import replacing
from ..database import Database
from .declarations import Export, export_named, exports
from .errors import DuckDBError
from .export import Exported, export
from .lake import Lake
from .query import analysis
from .sql import first_line, literal
from .verify import Compared, compare

EXAMPLES = """
**Examples**

`export run` — bring every export up to date

`export run trades --since 2024-01-01` — write the files from that day on anew

`export ls` — what the lake holds

`export query report.sql -p symbol=AAPL -p since=2020-01-01` — ask the files

`export query report.sql --output report.parquet` — keep the answer
"""

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]…", help="Which exports; all without it.")
]
Day = Annotated[datetime | None, typer.Option(metavar="YYYY-MM-DD", formats=["%Y-%m-%d"])]

# How many rows `query` shows when no `--output` keeps the answer.
SHOWN = 100


def export_commands(open_lake: Callable[[], Lake], declare: Callable[[], None]) -> typer.Typer:
    """The command group.

    Args:
        open_lake: opens the lake; each command calls it, so that `--help` needs no lake.
        declare: imports the modules that declare exports; each command that needs them calls it.
    """
    commands = typer.Typer(
        epilog=EXAMPLES,
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )

    @commands.command("run")
    def run(
        names: Names = None,
        since: Day = None,
        until: Day = None,
        fewer: Annotated[
            bool, typer.Option("--fewer", help="Replace a file even by one with fewer rows.")
        ] = False,
    ) -> None:
        """Bring the files up to date: write the new rows, or write the periods from a day on again.

        --since reads all rows of the periods from that day on again, for rows that came late or
        were changed. --until leaves out the rows from that day on.
        """
        declare()
        lake, chosen = open_lake(), _chosen(names)
        days = {"since": since and since.date(), "until": until and until.date()}
        asyncio.run(_export(lake, chosen, fewer=fewer, **days))

    @commands.command("ls")
    def ls() -> None:
        """Show each export: its files, the time they span, their size, and when it last ran."""
        declare()
        _ls(open_lake(), Console())

    @commands.command("query")
    def query(
        file: Annotated[
            Path, typer.Argument(help="A file with one SELECT; exports are tables in it.")
        ],
        parameters: Annotated[
            list[str] | None,
            typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="For $NAME; repeatable."),
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option(help="Write the answer into this .parquet, .csv or .json, and show none."),
        ] = None,
    ) -> None:
        """Run a SELECT over the files; nothing can be changed by it."""
        declare()
        _query(open_lake(), file, _parameters(parameters or []), output, Console())

    @commands.command("verify")
    def verify(names: Names = None) -> None:
        """Compare the rows of every file with the database; exits with 1 where they differ.

        Rows that the next export will read again may differ, and rows that the database has dropped
        are not compared.
        """
        declare()
        found = asyncio.run(_verify(open_lake(), _chosen(names)))
        for one in found:
            typer.echo(one.sentence)
        wrong = sum(one.due and not one.agrees for one in found)
        files = len({one.file for one in found})
        typer.echo(f"{files} files compared, {wrong} differ.")
        raise typer.Exit(1 if wrong else 0)

    @commands.command("prune")
    def prune() -> None:
        """Remove what killed exports have left; complete files stay."""
        for path in (found := open_lake().orphans()):
            path.unlink(missing_ok=True)
            typer.echo(f"Removed {path.name}.")
        if not found:
            typer.echo("Nothing to remove.")

    return commands


def _chosen(names: list[str] | None) -> list[Export]:
    if names:
        return [export_named(name) for name in names]
    if declared := exports():
        return declared
    raise DuckDBError(
        "No export is declared: write one as docs/data-layer/duckdb.md shows, and name its "
        "module in __main__.py, as create_cli(declares=[…])."
    )


def _parameters(given: list[str]) -> dict[str, str]:
    parameters = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise DuckDBError(f"{text!r} is no parameter; write one like -p symbol=AAPL.")
        parameters[name] = value
    return parameters


async def _export(lake: Lake, chosen: list[Export], **options: Any) -> None:
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %, {task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
    )
    async with Database.open() as database:
        for one in chosen:
            with Progress(
                *columns, console=console, transient=True, disable=not console.is_terminal
            ) as bar:
                task = bar.add_task(one.name, total=1.0, rows=0)
                done = await export(
                    database,
                    lake,
                    one,
                    **options,
                    progress=lambda so_far, bar=bar, task=task: bar.update(  # type: ignore[misc]
                        task, completed=so_far.done, rows=so_far.rows
                    ),
                )
            console.print(_told(one, done), highlight=False, markup=False)


def _told(one: Export, done: Exported) -> str:
    removed = f" Removed {len(done.removed)} files of a killed export." if done.removed else ""
    if not done.files:
        return f"{one.name}: nothing new.{removed}"
    return (
        f"{one.name}: {done.read:,} rows read, {len(done.files)} files written, up to "
        f"{done.files[-1].name}.{removed}"
    )


def _ls(lake: Lake, console: Console) -> None:
    table = Table("export", "files", "from", "to", "MB", "last run", title=str(lake.folder))
    for one in exports():
        files = lake.files(one)
        at = lake.exported_at(one)
        table.add_row(
            one.name,
            f"{len(files):,}",
            f"{files[0].begin}" if files else "",
            f"{files[-1].end}" if files else "",
            f"{sum(file.path.stat().st_size for file in files) / 1e6:,.1f}",
            f"{at:%Y-%m-%d %H:%M} UTC" if at else "never",
        )
    console.print(table)


def _query(
    lake: Lake, file: Path, parameters: dict[str, str], output: Path | None, console: Console
) -> None:
    try:
        statement = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DuckDBError(f"{file} can't be read ({reason}).") from None
    with analysis(lake) as opened:
        result = opened.query(statement, **parameters)
        names = [column[0] for column in result.description or ()]
        if output is not None:
            typer.echo(f"{_write(result, output):,} rows in {output}.")
            return
        table = Table(*names)
        rows = result.fetchmany(SHOWN + 1)
        for row in rows[:SHOWN]:
            table.add_row(*("" if value is None else str(value) for value in row))
        console.print(table, markup=False)
        if len(rows) > SHOWN:
            console.print(f"The first {SHOWN} rows; --output keeps all of them.")


def _write(answer: duckdb.DuckDBPyConnection, output: Path) -> int:
    kind = output.suffix.removeprefix(".")
    if kind not in ("parquet", "csv", "json"):
        raise DuckDBError(f"{output} ends in none of .parquet, .csv and .json.")
    try:
        # A separate DuckDB, since the one of an analysis may not write files.
        with replacing(output) as part, duckdb.connect() as connection:
            connection.register("answer", answer.to_arrow_reader(10_000))
            copied = connection.execute(
                f"COPY answer TO {literal(str(part))} (FORMAT {kind}, USE_TMP_FILE false)"
            )
            return int(copied.fetchall()[0][0])
    except duckdb.Error as error:
        raise DuckDBError(
            f"{output} can't be written ({first_line(error)}); where it is a type or a value, let "
            "the query cast or leave it out."
        ) from None


async def _verify(lake: Lake, chosen: list[Export]) -> list[Compared]:
    async with Database.open() as database:
        return [found for one in chosen for found in await compare(database, lake, one)]
