"""What a process that answers no requests tells Prometheus."""

import asyncio
import socket
import subprocess
import sys

import pytest

from my_project.data_layer import heartbeat, metrics
from my_project.data_layer.settings import InvalidSettings
from tests.layer import PATIENCE
from tests.layer.servers import free_port, scraped

COUNT = "work_duration_seconds_count"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("METRICS_ADDRESS", address)
    return address


async def test_work_is_counted_by_kind_name_and_outcome(address: str) -> None:
    with metrics.metrics():
        with metrics.measured("report", "daily"):
            pass
        with pytest.raises(KeyError), metrics.measured("report", "daily"):
            raise KeyError
        with pytest.raises(asyncio.CancelledError), metrics.measured("report", "cancelled"):
            raise asyncio.CancelledError
        metrics.observe("job", "weekly", 0.2)
        lines = [line for line in scraped(address) if line.startswith(COUNT)]
        assert sorted(lines) == [
            f'{COUNT}{{kind="job",name="weekly",outcome="done"}} 1.0',
            f'{COUNT}{{kind="report",name="daily",outcome="done"}} 1.0',
            f'{COUNT}{{kind="report",name="daily",outcome="failed"}} 1.0',
        ]
        assert any(line.startswith("process_cpu_seconds_total ") for line in scraped(address))
    # A process that does other work next begins to count anew, at the same address.
    metrics.observe("job", "weekly", 0.2)
    with metrics.metrics():
        assert not any(line.startswith(COUNT) for line in scraped(address))


async def test_the_heartbeat_is_a_metric_that_stands_still_while_the_event_loop_hangs(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    monkeypatch.delenv("HEARTBEAT_FILE", raising=False)

    def beat() -> float:
        name = "heartbeat_timestamp_seconds "
        [line] = [line for line in scraped(address) if line.startswith(name)]
        return float(line.removeprefix(name))

    with metrics.metrics():
        async with heartbeat.heartbeat():
            async with asyncio.timeout(PATIENCE):
                while not await asyncio.to_thread(beat):
                    await asyncio.sleep(0.01)
            # In the thread of the event loop, which does not turn meanwhile.
            before = beat()
            assert [beat() for _ in range(5)] == [before] * 5
            async with asyncio.timeout(PATIENCE):
                while await asyncio.to_thread(beat) <= before:
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("given", ["9000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", ":x"])
def test_an_address_that_is_none_is_a_sentence(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_ADDRESS", given)
    with (
        pytest.raises(InvalidSettings, match=r"METRICS_ADDRESS \(.*write it as 127.0.0.1:9000"),
        metrics.metrics(),
    ):
        raise AssertionError


def test_an_address_that_is_taken_is_a_sentence(address: str) -> None:
    with socket.socket() as other:
        host, _, port = address.rpartition(":")
        other.bind((host, int(port)))
        other.listen()
        with pytest.raises(InvalidSettings, match=r"already in use"), metrics.metrics():
            raise AssertionError


def test_who_serves_no_metrics_does_not_wait_for_their_library() -> None:
    program = (
        "import sys\n"
        "from my_project.data_layer.metrics import measured, metrics\n"
        "with metrics() as registry, measured('job', 'one'):\n"
        "    assert registry is None\n"
        "print('prometheus_client' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert done.stdout == "False\n"
