"""A private server on a restored folder: it recovers, is checked, and can reach nothing.

It listens only on a socket in a private folder, archives nothing, follows no other server and runs
no jobs.
"""

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
from sqlalchemy import URL

from .errors import RecoveryError
from .programs import account, clean_environment, hand_over, program
from .progress import progress
from .server import Server
from .settings import BackupSettings

POLL = 0.1
STOP_TIMEOUT = 300
_LAST = re.compile(r"last completed transaction was at log time (.+)")

# Nothing in the restored configuration may connect the copy to another server.
_SHUT_OFF = {
    "listen_addresses": "",
    "archive_mode": "off",
    "archive_command": "",
    "archive_library": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "max_logical_replication_workers": "0",
    "autovacuum": "off",
    "cluster_name": "drill",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "shared_buffers": "128MB",
    "huge_pages": "off",
}


class ScratchServer:
    """A copy that has recovered.

    Attributes:
        folder: its data directory.
    """

    def __init__(self, folder: Path, private: Path, superuser: str) -> None:
        self.folder = folder
        self._private = private
        self._superuser = superuser

    @property
    def log(self) -> str:
        """The messages of the server."""
        return (self._private / "log").read_text(encoding="utf-8", errors="replace")

    def url(self, database: str | None, user: str | None = None) -> URL:
        """The URL of the copy, as the superuser or as `user`; the copy asks for no password."""
        return URL.create(
            "postgresql+psycopg",
            user or self._superuser,
            database=database,
            query={"host": str(self._private)},
        )

    def last_transaction(self) -> datetime | None:
        """When the last replayed transaction was committed; the server's own log says it."""
        found = _LAST.findall(self.log)
        return datetime.fromisoformat(found[-1].strip()) if found else None


@contextmanager
def scratch_server(
    settings: BackupSettings, folder: Path, of: Server, environment: Mapping[str, str]
) -> Iterator[ScratchServer]:
    """Start a copy on the restored `folder` and wait until it has recovered; stop it at the end.

    Args:
        of: the server that was copied.
        environment: the variables that the copy needs to fetch WAL.

    Raises:
        RecoveryError: the copy ended instead of recovering; the message has its reason.
    """
    owner = account(settings)
    private = Path(tempfile.mkdtemp(prefix="drill-"))
    try:
        for name, text in (("hba", "local all all trust\n"), ("ident", ""), ("conf", "")):
            (private / name).write_text(text, encoding="utf-8")
        (private / "log").touch()
        hand_over(private, owner)
        options = {
            **_SHUT_OFF,
            **of.never_less,
            # An extension must be loaded to read its tables, but must not run its jobs.
            "shared_preload_libraries": of.preloaded or "",
            **dict.fromkeys(of.workers, "0"),
            "unix_socket_directories": str(private),
            "config_file": str(private / "conf"),
            "hba_file": str(private / "hba"),
            "ident_file": str(private / "ident"),
        }
        with (private / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(program(settings, "postgres"), "-D", str(folder)),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                env=clean_environment() | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **owner,
            )
        server = ScratchServer(folder, private, of.superuser)
        try:
            with progress("Recovering"):
                _wait(process, server)
            yield server
        finally:
            _stop(process)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], server: ScratchServer) -> None:
    """Wait until the server takes writes: once started, it may still end in its recovery."""
    address = server.url("postgres").set(drivername="postgresql").render_as_string()
    while process.poll() is None:
        try:
            with psycopg.connect(address, autocommit=True, connect_timeout=10) as connection:
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        except psycopg.Error:
            row = None
        if row == (False,):
            return
        time.sleep(POLL)
    lines = server.log.splitlines()
    fatal = [
        line.partition("FATAL:")[2].strip()
        for line in lines
        # What the server tells a client that comes too early is not the reason why it ended.
        if "FATAL:" in line and "FATAL:  the database system is" not in line
    ]
    reason = (fatal or lines or ["it said nothing"])[-1]
    raise RecoveryError(f"The restored server ended in its recovery: {reason}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    with progress("Stopping the copy"):
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait()
