"""What lives in the database because of TimescaleDB."""

from ..database import Database
from ..modules.remains import Remains
from . import catalog


async def remains() -> list[Remains]:
    """Hypertables, aggregates and the extension: remove all before the module is switched off."""
    async with Database.open() as database, database.transaction() as session:
        connection = await session.connection()
        installed = await connection.run_sync(catalog.has_extension)
        found = await connection.run_sync(catalog.read)
    living = [
        Remains(
            f"The {kind} {', '.join(sorted(name for _, name in names))} live: take their "
            "declarations out, and upgrade with the revision that autogenerate writes.",
            lost=True,
        )
        for kind, names in (
            ("hypertables", list(found.hypertables)),
            ("continuous aggregates", list(found.aggregates)),
        )
        if names
    ]
    if installed:
        living.append(
            Remains(
                "The database has the extension: put `timescaledb.drop_extension()` at the end of "
                "that revision's upgrade.",
                lost=True,
            )
        )
    return living
