"""`DUCKDB_*`: where the lake is, and how much of the machine an analysis may take."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from ..project import root
from ..settings import Settings


class DuckDBSettings(Settings):
    """The lake and the limits of DuckDB. Serves DL-DU-01 and DL-DU-06.

    Attributes:
        lake: the folder of the Parquet files; relative to the project.
        readable: further folders that queries may read, with `:` between; relative to the project.
        memory_limit: what DuckDB may take, such as `512MB`; beyond it, sorts and joins spill to
            disk.
        threads: threads of DuckDB; an export also opens at most that many connections to
            PostgreSQL, and with 1 exactly one.
        temp_directory: the folder for data beyond the memory limit; the system's when not set.
        row_group_size: rows of a row group, which a scan skips or reads as a whole; a multiple of
            2,048.
        extension: the file `postgres_scanner.duckdb_extension`, if it does not come from its wheel.
    """

    model_config = SettingsConfigDict(env_prefix="DUCKDB_")

    lake: Path = Path("data/lake")
    readable: Annotated[tuple[Path, ...], NoDecode] = (Path("data"),)
    memory_limit: str = Field(default="512MB", pattern=r"^[1-9][0-9]*(\.[0-9]+)?\s?[KMGT]i?B$")
    threads: int = Field(default=min(os.cpu_count() or 1, 4), ge=1, le=256)
    temp_directory: Path | None = None
    row_group_size: int = Field(default=122_880, ge=2_048, multiple_of=2_048)
    extension: Path | None = None

    @field_validator("readable", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part for part in value.split(":") if part] if isinstance(value, str) else value

    def lake_folder(self) -> Path:
        """The lake as an absolute path."""
        return self.lake if self.lake.is_absolute() else (root() / self.lake).resolve()

    def readable_folders(self) -> list[Path]:
        """The further folders as absolute paths."""
        return [
            folder if folder.is_absolute() else (root() / folder).resolve()
            for folder in self.readable
        ]
