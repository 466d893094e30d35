"""The environment of `alembic`: which models the migrations are about."""

from minimal.data_layer import wiring  # noqa: F401  the tables of the modules
from minimal.data_layer.database import Base
from minimal.data_layer.database.migrations import run_migrations

# Import each module of your models above, like `from minimal.accounts import models`.

run_migrations(Base.metadata)
