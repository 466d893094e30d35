"""What revisions import of the modules: it stays when a module is switched off."""

from .database.migrations.plain_tables import timescaledb

__all__ = ["timescaledb"]
