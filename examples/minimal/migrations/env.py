"""The environment of `alembic`: which models the migrations are about.

Import every module of models here, like `wiring`, which brings the tables of the data layer: for
`--autogenerate` a table that is not imported does not exist.
"""

from minimal.data_layer import wiring  # noqa: F401
from minimal.data_layer.database import Base
from minimal.data_layer.database.migrations import run_migrations

run_migrations(Base.metadata)
