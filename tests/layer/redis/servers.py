"""Servers that a test may stop, kill, let hang and start again on the same data and port."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from my_project.data_layer.devservers.postgresql import PORT_ATTEMPTS, PortTaken, free_port
from my_project.data_layer.devservers.redis import PREFIX, await_server, binary, configure

# The server must not outlive a test run that is killed: the reader's pipe ends with it.
_KEEPER = """
exec 3<&0
"$@" 3<&- & server=$!
echo $server > server.pid
{ read -r _ <&3; kill -0 $$ 2>/dev/null && kill -9 $server; } &
wait $server
"""


class OwnServer:
    """A server of one test; `own_server` makes it.

    Attributes:
        port: where it listens on 127.0.0.1; it stays over `restart`.
        cluster_port: where the nodes of a cluster talk to each other.
        password: of the user `default`.
        folder: its data, its configuration and `server.log`.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str], password: str, *, sentinel: bool
    ) -> None:
        self.folder = folder
        self.password = password
        self._settings = dict(settings)
        self._sentinel = sentinel
        self._keeper: subprocess.Popen[bytes] | None = None
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port, self.cluster_port = free_port(), free_port()
            if "cluster-enabled" in settings:
                self._settings["cluster-port"] = str(self.cluster_port)
            try:
                self.start()
                break
            except PortTaken:
                if attempt == PORT_ATTEMPTS:
                    raise

    @property
    def url(self) -> str:
        """The URL that `REDIS_URL` takes, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return int((self.folder / "server.pid").read_text())

    def start(self) -> None:
        """Start on the same data and port, and return when the server answers."""
        if self._keeper is not None:
            return
        configuration = self.folder / "server.conf"
        # A sentinel writes into its configuration what it knows of the others.
        if not (self._sentinel and configuration.exists()):
            configure(self.folder, self.port, self.password, self._settings)
        if self._sentinel:
            lines = configuration.read_text().splitlines(keepends=True)
            configuration.write_text("".join(line for line in lines if line[:5] != "save "))
        log = self.folder / "server.log"
        command = [str(binary()), str(configuration), *["--sentinel"] * self._sentinel]
        with log.open("wb") as output:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            await_server(self._keeper, log, self.port, self.password)
        except BaseException:
            self.kill()
            raise

    def restart(self) -> None:
        """Stop it, data written, and start it again on the same data and port."""
        os.kill(self.pid, signal.SIGTERM)
        self._gone()
        self.start()

    def kill(self) -> None:
        """`kill -9` the server; return when it is gone."""
        if self._keeper is not None:
            self._gone(b"end\n")

    def pause(self) -> None:
        """Let the server hang (SIGSTOP): it takes connections and answers none, until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def _gone(self, word: bytes | None = None) -> None:
        keeper, self._keeper = self._keeper, None
        assert keeper is not None
        if word is None:
            keeper.wait(timeout=30)
        keeper.communicate(word)


@contextmanager
def own_server(
    settings: Mapping[str, str] | None = None,
    *,
    password: str | None = None,
    sentinel: bool = False,
) -> Iterator[OwnServer]:
    """Run a server, and remove all its data at the end.

    Args:
        settings: lines of its configuration, by their first words.
        password: that servers share which know each other; else a new one.
        sentinel: run as a sentinel.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    server: OwnServer | None = None
    try:
        server = OwnServer(
            folder, settings or {}, password or secrets.token_urlsafe(24), sentinel=sentinel
        )
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
