"""The environment of `alembic`: which models the migrations are about.

Import every module of models here; `prepare_migrations` imports those of the data layer. For
`--autogenerate`, a table that is not imported does not exist.
"""

from minimal.data_layer.database import Base
from minimal.data_layer.database.migrations import run_migrations
from minimal.data_layer.wiring import prepare_migrations

prepare_migrations()
run_migrations(Base.metadata)
