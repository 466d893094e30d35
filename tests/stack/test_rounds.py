"""Under load each container is replaced, restarted and killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from uuid import uuid4

import pytest

from tests.stack.conftest import Client, Stack, until

pytestmark = [pytest.mark.xdist_group("stack"), pytest.mark.long]

SERVERS = ("postgres", "redis", "redis-queue")
PROGRAMS = ("api-a", "api-b", "worker", "scheduler", "saga-worker", "outbox-relay", "proxy")


class Load:
    """Errands from four clients at a time.

    Attributes:
        acknowledged: the names of those that were answered with 202.
        failed: what became of the others: a status, or the name of an error.
    """

    def __init__(self, client: Client) -> None:
        self.acknowledged: list[str] = []
        self.failed: list[str] = []
        self._client = client
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(4)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send until the block ends."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def more(self) -> None:
        """Wait until some more were acknowledged, so that something happens under load."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > before + 10, f"Only failures: {self.failed[-5:]}")

    def _send(self) -> None:
        while not self._stop.wait(0.05):
            name = uuid4().hex
            try:
                status, _ = self._client.ask("POST", "/errands", {"name": name})
            except (OSError, HTTPException) as error:
                self.failed.append(type(error).__name__)
            else:
                (self.acknowledged if status == 202 else self.failed).append(
                    name if status == 202 else str(status)
                )


def healthy(stack: Stack, service: str) -> bool:
    container = stack.compose("ps", "--quiet", service).stdout.strip()
    return stack.docker("inspect", "--format={{.State.Health.Status}}", container) == "healthy"


def test_replacing_the_apis_one_after_the_other_fails_no_request_on_stand_in_images(
    stack: Stack, client: Client
) -> None:
    load = Load(client)
    with load.running():
        load.more()
        for service in ("api-a", "api-b"):
            again = ("up", "--detach", "--wait", "--no-deps", "--no-build", "--force-recreate")
            stack.compose(*again, service)
            load.more()
    assert load.failed == []
    all_are_done(load, client)


@pytest.mark.parametrize("service", [*PROGRAMS, *SERVERS])
def test_what_was_acknowledged_is_done_although_a_container_is_restarted_and_killed(
    stack: Stack, client: Client, service: str
) -> None:
    load = Load(client)
    with load.running():
        load.more()
        stack.compose("restart", service)
        until(lambda: healthy(stack, service), f"{service} does not come back.")
        load.more()
        container = stack.compose("ps", "--quiet", service).stdout.strip()
        # The engine counts its own `kill` as a stop that somebody wanted.
        killed = int(stack.docker("inspect", "--format={{.State.Pid}}", container))
        os.kill(killed, signal.SIGKILL)
        until(
            lambda: (
                stack.docker("inspect", "--format={{.State.Pid}}", container)
                not in {"0", str(killed)}
            ),
            f"{service} was not started again.",
        )
        until(lambda: healthy(stack, service), f"{service} does not come back.")
        load.more()
    all_are_done(load, client)


def all_are_done(load: Load, client: Client) -> None:
    """Every acknowledged errand has what it started."""
    waiting = set(load.acknowledged)
    deadline = time.monotonic() + 300
    while waiting:
        for name in list(waiting):
            if client.ask("GET", f"/errands/{name}")[1] == b'["job","message","request","saga"]':
                waiting.discard(name)
        assert time.monotonic() < deadline, f"{len(waiting)} of {len(load.acknowledged)} are lost."
