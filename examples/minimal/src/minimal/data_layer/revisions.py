"""What revisions import of the modules: this file stays when a module is switched off."""

from .database.migrations.plain_tables import timescaledb

__all__ = ["timescaledb"]
