"""Schema migrations with Alembic: one line of files, safe to deploy, and tested."""

from .environment import run_migrations
from .errors import MigrationError
from .runner import alembic_config, downgrade, upgrade
from .settings import MigrationSettings

__all__ = [
    "MigrationError",
    "MigrationSettings",
    "alembic_config",
    "downgrade",
    "run_migrations",
    "upgrade",
]
