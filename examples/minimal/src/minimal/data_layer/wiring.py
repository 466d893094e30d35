"""The one place that knows which modules are in this project.

Each function imports what it hands out: a web process that asks for `resources` must not load
the command line and Alembic.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from .checklist import Check
    from .modules.remains import Remains


def checks(only: Sequence[str] = (), declare: Callable[[], None] = lambda: None) -> "list[Check]":
    """The checks of the core and of the modules, in the order of the report.

    Args:
        only: the beginnings of the ids that are wanted; empty means all. A part of the layer
            without such a check is not imported.
        declare: imports what the project declares; a check that looks at declarations calls it.
    """
    found: list[Check] = []
    if _wanted(only, "DL-UP"):
        from .modules.checks import update_checks

        found += update_checks()
    if _wanted(only, "DL-PG", "DL-ORM", "DL-TX", "DL-OPS"):
        from .database.checks import database_checks

        found += database_checks()
    if _wanted(only, "DL-MIG"):
        from .database.migrations.checks import migration_checks

        found += migration_checks()
    if _wanted(only, "DL-BK"):
        from .recovery.checks import backup_checks

        found += backup_checks()
    if _wanted(only, "DL-SA"):
        from .sagas.checks import saga_checks

        found += saga_checks(declare)
    return found


def _wanted(only: Sequence[str], *areas: str) -> bool:
    return not only or any(
        area.startswith(prefix) or prefix.startswith(area) for area in areas for prefix in only
    )


def prepare_migrations() -> None:
    """Import what `--autogenerate` must know of the modules; `migrations/env.py` calls it."""


def command_groups(
    declare: Callable[[], None] = lambda: None, own: "Sequence[Check]" = ()
) -> "dict[str, tuple[str, Callable[[], typer.Typer]]]":
    """The command groups of the core and the modules, by name: the line of `--help`, the loader.

    Args:
        declare: imports what the project declares; a command that needs declarations calls it.
        own: the project's own checks, which the restore drill asks of its restored copy.
    """

    def migrations() -> "typer.Typer":
        from .commands import migrations_commands

        return migrations_commands

    def database() -> "typer.Typer":
        from .database.commands import database_commands

        return database_commands

    def backup() -> "typer.Typer":
        from .recovery.commands import backup_commands

        def of_a_copy() -> "list[Check]":
            # Not the checks of connections and of files: they would not judge the copy.
            wanted = ("DL-TX-02", "DL-MIG-04", "DL-MIG-05")
            return [*(one for one in checks(wanted) if one.id in wanted), *own]

        return backup_commands(of_a_copy)

    def sagas() -> "typer.Typer":
        from .sagas.commands import saga_commands

        return saga_commands(declare)

    def outbox() -> "typer.Typer":
        from .sagas.commands import outbox_commands

        return outbox_commands(declare)

    def modules() -> "typer.Typer":
        from .modules.commands import modules_commands

        return modules_commands(remains)

    return {
        "migrations": (
            "Judge migrations: the safety lint, and schema and code apart.",
            migrations,
        ),
        "database": ("Ask what is slow, who waits for whom, and what is bloated.", database),
        "backup": ("Back up, restore, and prove every month that a restore works.", backup),
        "sagas": ("Work across services: workers, and sagas that wait for a person.", sagas),
        "outbox": ("Messages that were committed: relays, and what waits.", outbox),
        "modules": ("Switch a module on or off: what to do, and what to type.", modules),
    }


async def remains(module: str) -> "list[Remains]":
    """What that module leaves behind when it is switched off."""
    return []


@contextmanager
def embedded_services() -> Iterator[dict[str, str]]:
    """Run the throwaway servers that modules need beside PostgreSQL; they are gone at the end.

    Yields the variables of the environment that lead to them.
    """
    yield {}
