"""The worked example: a small market-data desk. Replace it with your own domain.

It uses only the public names of the data layer, so whatever stands here can be thrown away. What a
module of the layer adds to the desk stands in the folder of that module's name.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from .. import data_layer

if TYPE_CHECKING:
    from rich.console import Console

    from ..data_layer.database import Database

# In the order in which the story tells of them.
FOLDERS = ("sagas", "timescaledb", "files", "duckdb", "redis", "recovery")


def parts(name: str) -> list[ModuleType]:
    """The modules of that name in the folders that this project can use.

    A folder of a module that is switched off is left alone: it stays yours.
    """
    return [
        import_module(f"{__name__}.{folder}.{name}")
        for folder in FOLDERS
        if _is_there(f"{data_layer.__name__}.{folder}")
        and _is_there(f"{__name__}.{folder}")
        and _is_there(f"{__name__}.{folder}.{name}")
    ]


def _is_there(name: str) -> bool:
    """Whether there is such a module; a folder with only its compiled files does not count."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


async def story(database: Database, console: Console) -> None:
    """What `demo` tells. The chapters are imported here, since no other command needs them."""
    from . import demo

    await demo.story(database, console)
    for part in parts("story"):
        await part.story(database, console)
