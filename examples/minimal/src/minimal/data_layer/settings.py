"""Settings from the environment and `.env`, with errors that a person can act on."""

from collections.abc import Iterator
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from .errors import DataLayerError

SettingsType = TypeVar("SettingsType", bound="Settings")


class InvalidSettings(DataLayerError):
    """A setting is missing or wrong; the message names each one, never its value."""


class Settings(BaseSettings):
    """Base of every settings class of the layer.

    A subclass sets `env_prefix`, so that the field `pool_size` of the prefix `DATABASE_` is read
    from `DATABASE_POOL_SIZE`. The environment wins over `.env` in the current directory.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )


def load(settings: type[SettingsType]) -> SettingsType:
    """Read `settings` from the environment and `.env`.

    Raises:
        InvalidSettings: with one sentence for each setting that is missing or wrong.
    """
    try:
        return settings()
    except ValidationError as error:
        raise InvalidSettings(" ".join(_sentences(settings, error))) from None
    except UnicodeDecodeError:
        raise InvalidSettings(".env is not UTF-8; save it as UTF-8.") from None
    except SettingsError as error:
        raise InvalidSettings(f"The settings can't be read: {error}.") from None


def _sentences(settings: type[Settings], error: ValidationError) -> Iterator[str]:
    prefix = settings.model_config.get("env_prefix", "")
    for problem in error.errors(include_url=False, include_input=False):
        name = prefix + "_".join(str(part) for part in problem["loc"]).upper()
        if problem["type"] == "missing":
            yield f"{name} is not set; put it into .env or the environment."
        else:
            reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
            yield f"{name} in .env or the environment is wrong: {reason}."
