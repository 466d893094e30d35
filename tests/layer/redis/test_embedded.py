"""The embedded server: private, and gone with its parent."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from my_project.data_layer.devservers import redis as devserver
from my_project.data_layer.devservers.postgresql import free_port
from my_project.data_layer.devservers.redis import embedded_server
from my_project.data_layer.errors import DataLayerError
from tests.layer import PATIENCE

KILLED = """
import os, signal
from my_project.data_layer.devservers.redis import embedded_server
with embedded_server() as url:
    print(url, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server puts its folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def listens(url: str) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port_of(url)), 1):
        return True
    return False


def test_it_wants_its_password_and_listens_on_loopback(temporary: Path) -> None:
    with embedded_server() as url:
        with Redis.from_url(url) as client:
            assert client.config_get("bind")["bind"] == "127.0.0.1"
        with Redis(port=port_of(url)) as client, pytest.raises(AuthenticationError):
            client.ping()
        [folder] = temporary.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / "server.conf").stat().st_mode & 0o077 == 0
    assert not listens(url)
    assert not list(temporary.iterdir())


def test_it_is_gone_when_its_parent_is_killed(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        cwd=pytestconfig.rootpath,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    while listens(done.stdout) or list(tmp_path.iterdir()):
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.02)


def test_a_port_that_another_program_took_is_left_to_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedded_server() as first:
        ports = iter([port_of(first), free_port()])
        monkeypatch.setattr(devserver, "free_port", lambda: next(ports))
        with embedded_server() as second:
            assert listens(first)
            assert listens(second)


def test_one_that_does_not_start_says_why(temporary: Path) -> None:
    with (
        pytest.raises(DataLayerError, match="no-such-setting"),
        embedded_server({"no-such-setting": "1"}),
    ):
        pass
    assert not list(temporary.iterdir())
