"""The embedded server: private, gone with its parent, and the same after a crash."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from my_project.data_layer.devservers.redis import EmbeddedServer, embedded_server
from tests.layer import PATIENCE

KILLED = """
import os, signal
from my_project.data_layer.devservers.redis import embedded_server
with embedded_server() as server:
    print(server.pid, server.folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def runs(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.returncode == 0 and not state.stdout.startswith("Z")


def test_it_wants_its_password_and_listens_on_loopback(own_redis: EmbeddedServer) -> None:
    with Redis(port=own_redis.port) as client, pytest.raises(AuthenticationError):
        client.ping()
    with Redis.from_url(own_redis.url) as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert own_redis.folder.stat().st_mode & 0o077 == 0


def test_its_data_survive_a_crash_when_they_are_logged() -> None:
    with embedded_server({"appendonly": "yes", "appendfsync": "always"}) as server:
        with Redis.from_url(server.url) as client:
            client.set("a", "1", ex=60)
        server.kill()
        server.start()
        with Redis.from_url(server.url) as client:
            assert client.get("a") == b"1"
    assert not server.folder.exists()


def test_it_is_gone_when_its_parent_is_killed(pytestconfig: pytest.Config) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=pytestconfig.rootpath, capture_output=True, text=True
    )
    pid, folder = done.stdout.split()
    deadline = time.monotonic() + PATIENCE
    while runs(int(pid)) or Path(folder).exists():
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.02)
