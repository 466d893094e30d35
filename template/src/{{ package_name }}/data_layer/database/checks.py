"""What `check` asks about the database."""

from ..checklist import Check


def database_checks() -> list[Check]:
    """The checks of the core, in the order of the report."""
    return []
