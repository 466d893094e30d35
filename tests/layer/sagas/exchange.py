"""A small exchange over real HTTP that misbehaves as told, and keeps its own book."""

import asyncio
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from my_project.data_layer.sagas import Refused


class Exchange:
    """The book of the exchange.

    Attributes:
        behaviours: by path, how the next requests go: `refuse`, `lose` (nothing done, no answer),
            `forget` (done, no answer), `fail` (nothing done, 500), `fail after` (done, 500),
            `hang` (done, and an answer only when `release` is set). Then it goes well.
        orders: live or cancelled, by key.
        calls: how often each path and key was called.
        remembers: an order that was cancelled before it came is refused when it comes.
    """

    def __init__(self) -> None:
        self.behaviours: dict[str, deque[str]] = defaultdict(deque)
        self.orders: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.remembers = True
        self.release = threading.Event()
        self.url = ""
        self._lock = threading.Lock()

    @property
    def live(self) -> int:
        """How many orders stand."""
        return sum(state == "live" for state in self.orders.values())

    def answer(self, path: str, key: str) -> tuple[int | None, bool]:
        """Do what the request asks for, or not; the status, or None, and whether to hang."""
        with self._lock:
            self.calls[path] += 1
            waiting = self.behaviours[path]
            behaviour = waiting.popleft() if waiting else "accept"
            if behaviour in ("lose", "fail", "refuse"):
                return {"lose": None, "fail": 500, "refuse": 409}[behaviour], False
            status = self._do(path, key)
            if behaviour == "accept":
                return status, False
            return {"forget": None, "fail after": 500, "hang": status}[behaviour], (
                behaviour == "hang"
            )

    def _do(self, path: str, key: str) -> int:
        if path == "book":
            if self.orders.get(key) == "cancelled" and self.remembers:
                return 409
            self.orders[key] = "live"
        elif path == "cancel" and (key in self.orders or self.remembers):
            self.orders[key] = "cancelled"
        return 200


@contextmanager
def open_exchange() -> Iterator[Exchange]:
    exchange = Exchange()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            _, path, key = self.path.split("/")
            status, hangs = exchange.answer(path, key)
            if hangs:
                exchange.release.wait(60)
            if status is None:
                self.close_connection = True
                return
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close")
                self.end_headers()
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    exchange.url = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield exchange
    finally:
        exchange.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


async def post(url: str, path: str, key: UUID) -> None:
    """Ask the exchange at `url`.

    Raises:
        Refused: it says 409.
        OSError: it says anything else, or nothing.
    """
    host, _, port = url.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"POST /{path}/{key} HTTP/1.1\r\nHost: exchange\r\n\r\n".encode())
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
    status = line.split()[1] if line else b"no answer"
    if status == b"409":
        raise Refused("the exchange refuses")
    if status != b"200":
        raise OSError(f"the exchange says {status.decode()}")
