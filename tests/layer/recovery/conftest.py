"""A server that archives into an exercise's repository, rows in it, and restores of it."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from my_project.data_layer.cli import create_cli
from my_project.data_layer.devservers.postgresql import EmbeddedServer, embedded_server
from my_project.data_layer.recovery import Backup, BackupSettings, Target
from my_project.data_layer.recovery.exercise import Exercise
from my_project.data_layer.recovery.manifest import Sum, sums_at
from my_project.data_layer.recovery.scratch import scratch_server
from my_project.data_layer.recovery.server import connected, describe
from my_project.data_layer.recovery.tool import choose
from tests.layer import PATIENCE


@dataclass
class Shop:
    """One living server with rows, and what a test does to it."""

    server: EmbeddedServer
    folder: Path
    settings: BackupSettings
    restores: int = 0

    @property
    def tool(self) -> Exercise:
        return Exercise(self.settings)

    @property
    def wal(self) -> Path:
        return self.folder / "repository" / "wal"

    def execute(self, *statements: str) -> Any:
        """The first value that the last of the statements returns."""
        with connected(self.server.url) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    def sums(self) -> dict[str, Sum]:
        with connected(self.server.url) as connection:
            return dict(sums_at(connection))

    def heartbeat(self) -> None:
        """What makes an idle database restorable to a time."""
        self.execute("SELECT pg_logical_emit_message(true, 'heartbeat', now()::text)")

    def now(self) -> Target:
        moment = self.execute("SELECT clock_timestamp()").astimezone(UTC)
        return Target.parse(moment.isoformat())

    def point(self, name: str) -> Target:
        self.execute(f"SELECT pg_create_restore_point('{name}')")
        return Target("name", name)

    def archived(self) -> str:
        """Close the segment of now, and return its name when it is in the archive."""
        self.heartbeat()
        name = str(self.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
        self.execute("SELECT pg_switch_wal()")

        def came() -> bool:
            (self.wal / "held").unlink(missing_ok=True)
            return name in self.tool.archive().segments

        self.wait(came)
        return name

    def archive_by(self, command: str) -> None:
        """Let the server archive by that command; empty means as the tool prepared it."""
        if command:
            self.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
            self.execute("SELECT pg_reload_conf()")
            self.wait(lambda: self.execute("SHOW archive_command") == command)
        else:
            self.tool.prepare()

    def write_until(self, happens: Any) -> None:
        """Close one segment after the other: the archiver may have taken one by its old command."""

        def close() -> Any:
            self.heartbeat()
            self.execute("SELECT pg_switch_wal()")
            return happens()

        self.wait(close)

    def wait(self, happens: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happens():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def restored(self, target: Target, backup: Backup | None = None) -> dict[str, Sum]:
        """The sums of a copy that has recovered to the target."""
        self.restores += 1
        folder = self.folder / f"restored{self.restores}"
        folder.mkdir()
        tool = self.tool
        tool.restore(folder, target, backup or choose(tool.backups(), target))
        with connected(self.server.url) as connection:
            of = describe(connection)
        with (
            scratch_server(self.settings, folder, of, {}) as copy,
            connected(copy.url("postgres")) as connection,
        ):
            return dict(sums_at(connection))


@contextmanager
def opened_folder() -> Iterator[Path]:
    """A folder that the server's user may enter: pytest closes its own each time that it starts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    with embedded_server() as server, pytest.MonkeyPatch.context() as patch:
        url = server.url.set(drivername="postgresql").render_as_string(hide_password=False)
        variables = {
            "DATABASE_URL": url,
            "BACKUP_TOOL": "exercise",
            "BACKUP_REPOSITORY": str(folder / "repository"),
            "BACKUP_DRILL_REPORT": str(folder / "drill.json"),
            "BACKUP_POSTGRES_BIN": str(server._binaries),
            "BACKUP_SYSTEM_USER": "nobody",
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        opened = Shop(server, folder, BackupSettings())
        opened.tool.prepare()
        server.stop()
        server.start()
        opened.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL, price numeric)",
            "INSERT INTO orders SELECT n, 'item ' || n, n / 7.0 FROM generate_series(1, 2000) n",
            "CREATE TABLE notes (said text)",
        )
        yield opened


@pytest.fixture
def living(open_folder: Path) -> Iterator[Shop]:
    """A server of the test's own, archiving, with rows and no backup."""
    with shop(open_folder) as opened:
        yield opened


def typed(*arguments: str) -> Result:
    """What the layer's command line does with these arguments."""
    return CliRunner().invoke(create_cli(), arguments, env={"COLUMNS": "200"})
