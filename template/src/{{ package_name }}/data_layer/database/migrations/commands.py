"""The commands `migrations lint` and `migrations change-set`."""

import typer

migrations_commands = typer.Typer(
    help="Judge migrations: the safety lint, and schema and code apart.", no_args_is_help=True
)


@migrations_commands.callback()
def _group() -> None: ...
