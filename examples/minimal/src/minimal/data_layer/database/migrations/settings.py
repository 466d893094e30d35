"""Settings of the migrations: `MIGRATION_*` in the environment and `.env`."""

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ...settings import Settings

Seconds = Annotated[float, Field(ge=0, le=86_400)]


class MigrationSettings(Settings):
    """How migrations run; every field has a default, so that none must be set.

    Attributes:
        url: where migrations connect instead of `DATABASE_URL`: as the role that owns the tables,
            or straight to the server where the application goes through a pooler.
        lock_timeout: seconds that one statement waits for a lock (0: for ever). It is short, since
            every query that comes after a waiting `ALTER TABLE` waits too.
        statement_timeout: seconds that one statement may take (0: no limit).
        lock_attempts: how often a migration that met the lock timeout is tried in all.
        wait: seconds to wait for another deployer who migrates the same database.
    """

    model_config = SettingsConfigDict(env_prefix="MIGRATION_")

    url: SecretStr | None = None
    lock_timeout: Seconds = 5
    statement_timeout: Seconds = 600
    lock_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    wait: Seconds = 60
