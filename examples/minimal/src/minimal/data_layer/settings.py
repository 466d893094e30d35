"""Settings from the environment, `.env` and files, with errors that a person can act on."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from . import dotenv
from .errors import DataLayerError

ENV_FILE = ".env"
# Docker and Kubernetes put here what a process may read and nobody else may see.
SECRETS = "/run/secrets"

SettingsType = TypeVar("SettingsType", bound="Settings")


class InvalidSettings(DataLayerError):
    """A setting is missing or wrong; the message names each one, never its value."""


class Settings(BaseSettings):
    """Base of every settings class of the layer.

    A subclass sets `env_prefix`: with the prefix `DATABASE_`, the field `pool_size` is read from
    `DATABASE_POOL_SIZE`. The environment wins over `.env` in the current directory, and `.env` wins
    over a file with the variable's name in SECRETS_DIRECTORY (`/run/secrets`). As in the compose
    files, an empty variable counts as not set. A variable that is empty in the environment hides
    the values in `.env` and in the file.
    """

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != ""}


def load(settings: type[SettingsType]) -> SettingsType:
    """Read `settings` from the environment, `.env` and the files of SECRETS_DIRECTORY.

    Raises:
        InvalidSettings: with one sentence for each setting that is missing or wrong, or about a
            line of `.env` that docker compose would read in another way.
    """
    secrets = os.environ.get("SECRETS_DIRECTORY") or SECRETS
    try:
        if Path(ENV_FILE).is_file():
            dotenv.read(Path(ENV_FILE))
        return settings(_secrets_dir=secrets if Path(secrets).is_dir() else None)
    except DataLayerError as error:
        raise InvalidSettings(str(error)) from None
    except ValidationError as error:
        raise InvalidSettings(" ".join(_sentences(settings, error))) from None
    except SettingsError as error:
        reason = f"{error}; it stands in the environment, .env or a file in {secrets}"
        raise InvalidSettings(f"The settings can't be read: {reason}.") from None


def _sentences(settings: type[Settings], error: ValidationError) -> Iterator[str]:
    prefix = settings.model_config.get("env_prefix", "")
    for problem in error.errors(include_url=False, include_input=False):
        name = prefix + "_".join(str(part) for part in problem["loc"]).upper()
        if problem["type"] == "missing":
            yield f"{name} is not set; put it into .env or the environment."
        else:
            reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
            yield f"{name} in .env or the environment is wrong: {reason}."
