"""The commands `migrations lint` and `migrations change-set`.

They stand outside of `database/`, since its import loads SQLAlchemy, which only the lint needs.
"""

from typing import Annotated

import typer

from .change_set import files_since, mixed_files
from .project import root

migrations_commands = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

Base = Annotated[str, typer.Option(help="The branch, tag or commit to compare HEAD with.")]


@migrations_commands.command()
def lint(
    base: Annotated[
        str | None,
        typer.Option(help="Judge only the files that changed since this branch, tag or commit."),
    ] = None,
) -> None:
    """Say which migrations break a rule or endanger a running database; exits with 1 if any."""
    from .database.migrations.lint import hazards_in
    from .database.migrations.rules import migration_files, problems_in, problems_of_line
    from .database.migrations.runner import alembic_config

    config = alembic_config()
    files = migration_files(config)
    changes = None if base is None else files_since(base, root())
    if changes is not None:
        changed = {(root() / name).resolve() for name in changes[1]}
        files = [file for file in files if file.resolve() in changed]
    problems = [*problems_of_line(config), *problems_in(files)]
    problems += hazards_in(files, root())
    for problem in problems:
        typer.echo(problem.sentence)
    if problems:
        typer.echo(f"{len(problems)} of these to correct; docs/data-layer/migrations.md says how.")
        raise typer.Exit(1)
    typer.echo(f"Migrations judged: {len(files)}. None breaks a rule.")


@migrations_commands.command()
def change_set(
    base: Base = "origin/main",
    allow: Annotated[
        list[str] | None,
        typer.Option(help="A pattern of paths that may change together with a migration."),
    ] = None,
) -> None:
    """Refuse commits that change the schema and the code at once; exits with 1 if they do."""
    code, verdict = mixed_files(base, root(), allow or [])
    typer.echo(verdict)
    if code:
        raise typer.Exit(1)
