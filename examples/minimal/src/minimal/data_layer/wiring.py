"""The one place that knows which modules are in this project."""

import typer

from .checklist import Check
from .database.checks import database_checks
from .database.migrations.checks import migration_checks
from .database.migrations.commands import migrations_commands


def checks() -> list[Check]:
    """Every check of the core and of the modules, in the order of the report."""
    return [
        *database_checks(),
        *migration_checks(),
    ]


def command_groups() -> dict[str, typer.Typer]:
    """The command groups that the core and the modules add, by name."""
    return {
        "migrations": migrations_commands,
    }
