"""What a test does to the server of its own, and nobody else to any."""

import socket
import time
import urllib.request
from contextlib import suppress

import psutil

from my_project.data_layer.devservers.postgresql import EmbeddedServer
from tests.layer import PATIENCE


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scraped(address: str) -> list[str]:
    """The lines of `/metrics` at this host and port."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text.splitlines()


def pid_of(server: EmbeddedServer) -> int:
    """The process id of the postmaster."""
    return int((server.data / "postmaster.pid").read_text().split()[0])


def kill(server: EmbeddedServer) -> None:
    """`kill -9` the postmaster and its children; return when every process is gone."""
    postmaster = psutil.Process(pid_of(server))
    postmaster.suspend()  # so that it starts no child between the listing and the kill
    children = postmaster.children(recursive=True)
    for process in (postmaster, *children):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    # Reaps the postmaster, whose parent this process is.
    server.stop()
    assert ends(*children)


def alive(process: psutil.Process) -> bool:
    """Whether it runs; where process 1 doesn't reap, an orphan that ended stays a zombie."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def ends(*processes: psutil.Process) -> bool:
    """Whether they all end; the kernel takes a moment for one that was killed."""
    deadline = time.monotonic() + PATIENCE
    while any(alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def restart(server: EmbeddedServer) -> None:
    """Stop if need be, and start again on the same data and port."""
    server.stop()
    server.start()
