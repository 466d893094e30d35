"""Schema migrations with Alembic: one line of files, safe to deploy, and tested."""

from .batches import in_batches
from .environment import run_migrations
from .errors import MigrationError
from .operations import (
    Irreversible,
    create_index_concurrently,
    drop_index_concurrently,
    irreversible,
    validate_constraint,
)
from .rules import baseline
from .runner import alembic_config, downgrade, upgrade
from .settings import MigrationSettings

__all__ = [
    "Irreversible",
    "MigrationError",
    "MigrationSettings",
    "alembic_config",
    "baseline",
    "create_index_concurrently",
    "downgrade",
    "drop_index_concurrently",
    "in_batches",
    "irreversible",
    "run_migrations",
    "upgrade",
    "validate_constraint",
]
