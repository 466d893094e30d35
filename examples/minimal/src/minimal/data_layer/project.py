"""Where the project is."""

from pathlib import Path

from .errors import DataLayerError


def root() -> Path:
    """The nearest folder at or above the current directory that holds `alembic.ini`.

    Raises:
        DataLayerError: there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "alembic.ini").is_file():
            return folder
    raise DataLayerError(
        f"No alembic.ini in {here} or any folder above it; run the command inside the project."
    )
