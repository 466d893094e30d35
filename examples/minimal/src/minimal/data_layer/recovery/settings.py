"""`BACKUP_*`: what saves the database, where to, for how long, and where the drill reports."""

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy import URL

from ..database import DatabaseSettings
from ..project import root
from ..settings import Settings, load

PACKAGE = __name__.partition(".")[0]


class BackupSettings(Settings):
    """How this database is backed up, and how a restore is proved.

    Attributes:
        tool: `pgbackrest`; `managed` when the provider does it; `exercise` for PostgreSQL's own
            tools, which prove that a restore works and are no backup system; `none` for a
            database that may be lost. If it is not set, `check` fails.
        url: the connection of the role that backs up and drills; without it `DATABASE_URL`.
        password: used when `url` holds none.
        repository: the folder of the backups and the WAL; with `s3_bucket`, the prefix in it.
        s3_bucket: a bucket instead of a folder; only pgBackRest can use it, over HTTPS.
        s3_endpoint: the host of the object store, and its port where that is not 443.
        s3_region: the region of the object store.
        s3_uri_style: where an address names the bucket; `path` for most self-hosted stores.
        s3_ca_file: the absolute path of your own certificate authority's certificate, in PEM.
        s3_key: the access key.
        s3_key_secret: the secret that belongs to the key.
        encryption_secret: encrypts the repository (AES-256); whoever loses it loses the backups.
        stanza: pgBackRest's name for this database in the repository.
        command: how pgBackRest is called, with its arguments.
        retention_days: days back to which any moment can be restored; at least 7.
        postgres_bin: the folder of PostgreSQL's programs, in the version of the server; without
            it they are looked for in the PATH.
        system_user: the user that runs the server on this machine; read only when root calls.
        drill_report: where the drill writes its JSON; a metric of the same name in `.prom` is
            beside it, for the textfile collector of Prometheus.
        restored_on: the day on which a person last restored the provider's backup and looked at
            the data; only for `managed`.
    """

    model_config = SettingsConfigDict(env_prefix="BACKUP_")

    tool: Literal["pgbackrest", "managed", "exercise", "none"] | None = None
    url: SecretStr | None = None
    password: SecretStr | None = None
    repository: Path = Path("backups")
    s3_bucket: str = ""
    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_uri_style: Literal["host", "path"] = "host"
    s3_ca_file: Path | None = None
    s3_key: SecretStr | None = None
    s3_key_secret: SecretStr | None = None
    encryption_secret: SecretStr | None = None
    stanza: str = Field(default=PACKAGE.replace("_", "-"), pattern=r"^[a-z0-9][a-z0-9_-]*$")
    command: str = Field(default="pgbackrest", min_length=1)
    retention_days: int = Field(default=7, ge=7, le=3650)
    postgres_bin: Path | None = None
    system_user: str = Field(default="postgres", min_length=1)
    drill_report: Path = Path("backups/drill.json")
    restored_on: date | None = None

    @model_validator(mode="after")
    def _check_s3(self) -> "BackupSettings":
        if self.s3_bucket and not (self.s3_endpoint and self.s3_key and self.s3_key_secret):
            raise ValueError(
                "with BACKUP_S3_BUCKET, BACKUP_S3_ENDPOINT, BACKUP_S3_KEY and "
                "BACKUP_S3_KEY_SECRET are needed too"
            )
        return self

    def connection(self) -> URL:
        """The URL of the role that backs up, with its password filled in."""
        if self.url is None:
            return load(DatabaseSettings).sqlalchemy_url()
        own = DatabaseSettings(_env_file=None, url=self.url, password=self.password)
        return own.sqlalchemy_url()

    def folder(self) -> Path:
        """The absolute path of the repository's folder."""
        return _below_root(self.repository)

    def report(self) -> Path:
        """The absolute path of the drill's report."""
        return _below_root(self.drill_report)


def _below_root(path: Path) -> Path:
    path = path.expanduser()
    return path if path.is_absolute() else root() / path
