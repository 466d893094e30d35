"""The commands `database …`: what a person on call asks a database. They change nothing."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ..errors import DataLayerError
from ..project import COMMAND
from .errors import sqlstate
from .session import Database
from .sql import statement

# By the name of the file in questions/: the line of `--help`, and what to say without any row.
QUESTIONS = {
    "slow": ("The statements that took most of the server's time.", "No statement was counted."),
    "locks": ("Who waits for a lock, and who is in the way.", "Nobody waits for a lock."),
    "sessions": ("The connections, the oldest transaction first.", "Nobody else is connected."),
    "bloat": ("The tables with most dead rows, and when they were vacuumed.", "No table."),
    "indexes": ("The largest indexes, and how often each was used.", "No index."),
}

_EXAMPLES = f"""
**Examples**

`{COMMAND} database slow` — what the server is busy with

`{COMMAND} database locks` — who is in whose way; `SELECT pg_cancel_backend(PID)` ends a statement

`{COMMAND} database sessions --number 50` — who is connected, and since when
"""

# The extension may be in a schema of its own.
_FIND_STATISTICS = text(
    "SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''),"
    " extnamespace::regnamespace::text), true)"
    " FROM pg_extension WHERE extname = 'pg_stat_statements'"
)

Number = Annotated[int, typer.Option(min=1, help="How many lines.")]


database_commands = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", epilog=_EXAMPLES)


def _add(name: str, explained: str, nothing: str) -> None:
    @database_commands.command(name, help=explained)
    def ask(number: Number = 10) -> None:
        columns, rows = asyncio.run(_answer(name, number))
        if not rows:
            typer.echo(nothing)
            return
        table = Table(show_edge=False, pad_edge=False, header_style="bold")
        for column, value in zip(columns, rows[0], strict=True):
            table.add_column(column, justify="left" if isinstance(value, str) else "right")
        for row in rows:
            table.add_row(*(Text("" if value is None else str(value)) for value in row))
        Console().print(table)


async def _answer(name: str, number: int) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    async with Database.open() as database, database.read_only() as session:
        try:
            if name == "slow":
                await session.execute(_FIND_STATISTICS)
            result = await session.execute(
                statement(__package__, f"questions/{name}.sql"), {"number": number}
            )
        except DBAPIError as error:
            # The view is not there, or the server did not load its library.
            if sqlstate(error) in ("42P01", "55000"):
                raise DataLayerError(
                    f"The server collects no statistics of statements; `{COMMAND} check --only "
                    "DL-PG-06` says how it comes to."
                ) from None
            raise
        return list(result.keys()), result.all()


for _name, _told in QUESTIONS.items():
    _add(_name, *_told)
