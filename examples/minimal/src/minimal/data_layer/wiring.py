"""The one place that knows which modules are in this project.

Each function imports what it hands out: a web process that asks for `resources` shall not pay for
the command line and for Alembic.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from .checklist import Check


def checks() -> "list[Check]":
    """Every check of the core and of the modules, in the order of the report."""
    from .database.checks import database_checks
    from .database.migrations.checks import migration_checks

    return [
        *database_checks(),
        *migration_checks(),
    ]


def prepare_migrations() -> None:
    """Import what `--autogenerate` must know of the modules; `migrations/env.py` calls it."""


def command_groups() -> "dict[str, typer.Typer]":
    """The command groups that the core and the modules add, by name."""
    from .database.migrations.commands import migrations_commands

    return {
        "migrations": migrations_commands,
    }


@contextmanager
def embedded_services() -> Iterator[dict[str, str]]:
    """Run throwaway servers of what the modules need beside PostgreSQL; gone at the end.

    Yields the variables of the environment that lead to them.
    """
    yield {}
