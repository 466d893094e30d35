"""The worked example: a small market-data desk. Replace it with your own domain.

It uses only the public names of the data layer, so whatever stands here can be thrown away.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..data_layer.project import import_all

if TYPE_CHECKING:
    from rich.console import Console

    from ..data_layer.database import Database

# What the story goes on with after the desk itself; a chapter whose file is not here is left out.
CHAPTERS = ("candles", "archive", "history", "prices", "reports")


async def story(database: "Database", console: "Console") -> None:
    """What `demo` tells. The chapters are imported here, since no other command needs them."""
    from . import demo

    await demo.story(database, console)
    for name in CHAPTERS:
        if find_spec(f"{__name__}.{name}"):
            [chapter] = import_all(f"{__name__}.{name}")
            await chapter.story(database, console)
