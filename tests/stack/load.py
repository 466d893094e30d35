"""Errands that keep coming while something happens to the stack."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from uuid import uuid4

from tests.stack.conftest import Client, until

DONE = b'["job","message","request","saga"]'


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

    def all_are_done(self) -> None:
        """Wait until every acknowledged errand has what it started."""
        waiting = set(self.acknowledged)
        deadline = time.monotonic() + 300
        while waiting:
            for name in list(waiting):
                if self._client.ask("GET", f"/errands/{name}")[1] == DONE:
                    waiting.discard(name)
            lost = f"{len(waiting)} of {len(self.acknowledged)} are lost."
            assert time.monotonic() < deadline, lost

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
