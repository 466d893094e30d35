"""The part of the story that `demo` tells of backups: a table is dropped, and comes back."""

import asyncio
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter

import psycopg
from psycopg import sql
from pydantic import SecretStr
from rich.console import Console

from ...data_layer.database import Database
from ...data_layer.devservers.postgresql import EmbeddedServer, embedded_server
from ...data_layer.recovery import BackupSettings, Kind, RecoveryError, Target, tool_of
from .. import samples

POINT = "before the accident"
# Seconds; only a server that can't archive takes that long.
PATIENCE = 120.0
SUM = """
    SELECT count(*), coalesce(sum(hashtextextended(closes::text, 0)::numeric), 0) FROM closes
"""


async def story(database: Database, console: Console) -> None:
    """Save a server of its own, drop a table, and restore the moment before, to the row.

    The database of the other chapters may be on somebody's server, which nobody restarts for this.
    """
    console.rule("Recover: a dropped table comes back")
    await asyncio.to_thread(_recover, console)


def _recover(console: Console) -> None:
    # A server that runs as another user could not enter a private folder.
    with embedded_server(durable=False) as server, TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        settings = BackupSettings(
            _env_file=None,
            tool="exercise",
            url=SecretStr(_address(server)),
            repository=Path(name),
            postgres_bin=server.binaries,
            system_user="nobody",
        )
        tool = tool_of(settings)
        tool.prepare()
        server.stop()
        server.start()
        backup = tool.run(Kind.FULL)
        console.print(f"A full backup: {backup.size / 1e6:.1f} MB.")
        with psycopg.connect(_address(server), autocommit=True) as connection:
            connection.execute("CREATE TABLE closes (symbol text, day date, close numeric)")
            with connection.cursor().copy("COPY closes FROM STDIN") as rows:
                for bar in samples.bars():
                    rows.write_row((bar.symbol, bar.day, bar.close))
            before = connection.execute(SUM).fetchone() or (0, 0)
            create = sql.SQL("SELECT pg_create_restore_point({})").format(POINT)
            connection.execute(create)
            console.print(f"{before[0]:,} rows are written after it, then a restore point.")
            connection.execute("DROP TABLE closes")
            console.print("DROP TABLE closes.")
            _archive(connection)
        started = perf_counter()
        server.stop()
        shutil.rmtree(server.data)
        server.data.mkdir(mode=0o700)
        tool.restore(server.data, Target("name", POINT), backup)
        server.start()
        with psycopg.connect(_address(server)) as connection:
            after = connection.execute(SUM).fetchone() or (0, 0)
        seconds = perf_counter() - started
    if after != before:
        raise RecoveryError(f"{after[0]:,} rows came back, or others, instead of {before[0]:,}.")
    console.print(f"{after[0]:,} rows are back in {seconds:.1f} s, and their sum is the same.")


def _address(server: EmbeddedServer) -> str:
    url = server.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def _archive(connection: psycopg.Connection) -> None:
    """Close the segment of the restore point, and wait until it is in the repository."""
    row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
    archived = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
    deadline = monotonic() + PATIENCE
    while connection.execute(archived, row).fetchone() != (True,):
        if monotonic() > deadline:
            raise RecoveryError(f"The server did not archive its log within {PATIENCE:g} s.")
        connection.execute("SELECT pg_sleep(0.02)")
