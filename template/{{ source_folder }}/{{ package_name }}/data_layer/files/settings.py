"""`FILES_*`: where the data tree is, which remote it belongs to, how large its cache may grow."""

from pathlib import Path

from pydantic import ByteSize, Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from ..project import root
from ..settings import Settings

SCHEMES = ("s3://", "gs://", "az://", "file:///")


class FilesSettings(Settings):
    """The data tree, its remote and its cache.

    Attributes:
        root: the folder of the tree; a relative path begins at the project's root.
        remote_url: `s3://bucket/prefix`, `gs://…`, `az://…` or `file:///a/shared/disk`, under which
            the same paths are kept; credentials come from the provider's own variables.
        cache_size: what the local copies of remote files may take, as `500MB` or `20GB`.
    """

    model_config = SettingsConfigDict(env_prefix="FILES_")

    root: Path = Path("data")
    remote_url: SecretStr | None = None
    cache_size: ByteSize = Field(default=ByteSize(10_000_000_000), gt=0)

    @field_validator("remote_url", mode="before")
    @classmethod
    def _empty_is_none(cls, url: object) -> object:
        return url or None

    @field_validator("remote_url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        # No sentence repeats the value: credentials may stand in it by mistake.
        if url is None:
            return None
        text = url.get_secret_value()
        if not text.startswith(SCHEMES):
            raise ValueError(f"it must begin with {', '.join(SCHEMES)}")
        if "@" in text or "?" in text:
            raise ValueError(
                "it holds an @ or a query; credentials belong into the provider's own variables, "
                "such as AWS_ACCESS_KEY_ID"
            )
        return url

    def folder(self) -> Path:
        """The absolute path of the tree."""
        folder = self.root.expanduser()
        return folder if folder.is_absolute() else root() / folder
