"""What `check` asks about migrations: DL-MIG-01 to DL-MIG-06."""

from ...checklist import Check


def migration_checks() -> list[Check]:
    """The checks of the migrations, in the order of the report."""
    return []
