"""Where the project is, how it is called, and how the modules that it names are imported."""

import pkgutil
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from importlib import import_module
from pathlib import Path, PurePath
from types import ModuleType

from .errors import DataLayerError

_LAYER = Path(__file__).parent
PACKAGE = _LAYER.parent.name
# The name of the command line, and of this program in servers, logs and files.
PROGRAM = PACKAGE.replace("_", "-")
# Whether the project is older than the layer, which then leaves all its files alone.
ADOPTED = (_LAYER / "adoption" / "__init__.py").is_file()
# What a person types after `uv run`.
COMMAND = f"python -m {PACKAGE}.data_layer" if ADOPTED else PROGRAM


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


def migrations_folder(project: Path) -> str:
    """Where the environment of the migrations stands, relative to the project."""
    settings = ConfigParser(interpolation=None)
    with suppress(ConfigParserError):
        settings.read(project / "alembic.ini", encoding="utf-8")
    named = settings.get("alembic", "script_location", fallback="migrations")
    return PurePath(named.replace("%(here)s", ".")).as_posix()


def import_all(name: str) -> list[ModuleType]:
    """Import the module of that name, and, where it is a package, every module in it.

    Raises:
        DataLayerError: there is no such module, or one of them imports a module of the data layer
            that this project does not have.
    """
    module = _import(name)
    within = pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}.")
    return [module, *(_import(found.name) for found in within)]


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.startswith(f"{__package__}."):
            raise DataLayerError(
                f"{name} imports {missing}, which this project does not have; delete {name}, or "
                "switch that module of the data layer on."
            ) from error
        if f"{name}.".startswith(f"{missing}."):
            raise DataLayerError(
                f"There is no module {name}; write the names of those that there are into "
                "__main__.py, as create_cli(declares=[…])."
            ) from error
        raise
