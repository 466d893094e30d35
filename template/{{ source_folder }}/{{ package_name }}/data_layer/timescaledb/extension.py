"""Whether a server has the TimescaleDB that this module needs (DL-TS-01)."""

from sqlalchemy import Connection, text

from ..database.settings import address_of
from .errors import TimescaleDBError

# The columnstore's own API begins with this version.
MINIMUM = (2, 18)
GROWING = (2, 28)

COMPOSE = "docker compose up --detach --wait"


def refuse(reason: str | None) -> None:
    """Refuse for a reason, if there is one.

    Raises:
        TimescaleDBError: there is a reason.
    """
    if reason:
        raise TimescaleDBError(reason)


def unavailable(connection: Connection) -> str | None:
    """Why the extension can't be created on this server, in a sentence; None when it can."""
    version = connection.scalar(
        text("SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'")
    )
    if version is None:
        return (
            f"The server {_address(connection)} has no TimescaleDB; start that of compose.yaml "
            f"with Docker (`{COMPOSE}`) and use it, or another server that has the Community "
            "edition: in DATABASE_URL, in TEST_DATABASE_URL, as `--server` of the command `demo`."
        )
    # The library that is preloaded defines this setting, in every database.
    if connection.scalar(text("SELECT current_setting('timescaledb.disable_load', true)")) is None:
        return (
            f"The server {_address(connection)} does not preload TimescaleDB; add timescaledb to "
            "shared_preload_libraries in its configuration and restart it."
        )
    if _version(version) < MINIMUM:
        return (
            f"The server {_address(connection)} has TimescaleDB {version}; install "
            f"{'.'.join(map(str, MINIMUM))} or later."
        )
    return None


def unfit(connection: Connection) -> str | None:
    """Why the extension of this database is not enough, in a sentence; None when it is."""
    version = connection.scalar(
        text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    )
    if version is None:
        # Only an existing extension shows its edition.
        return unavailable(connection) or (
            f"The database {_address(connection)} has no extension timescaledb; run `uv run "
            "alembic upgrade head`, which creates it or says why the server's edition won't do."
        )
    if _version(version) < MINIMUM:
        return (
            f"The database {_address(connection)} has TimescaleDB {version}; install "
            f"{'.'.join(map(str, MINIMUM))} or later and type: ALTER EXTENSION timescaledb UPDATE;"
        )
    if connection.scalar(text("SELECT current_setting('timescaledb.license', true)")) == "apache":
        return (
            f"The server {_address(connection)} runs the Apache edition of TimescaleDB, which has "
            "no columnstore, no continuous aggregates and no policies; use the Community edition "
            "(timescaledb.license = 'timescale'), as the image of compose.yaml does."
        )
    return None


def grows_in_place(connection: Connection) -> bool:
    """Whether an aggregate of this database can be given a column without being built anew."""
    version = connection.scalar(
        text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    )
    return version is not None and _version(version) >= GROWING


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("-")[0].split(".")[:2])


def _address(connection: Connection) -> str:
    return address_of(connection.engine.url)
