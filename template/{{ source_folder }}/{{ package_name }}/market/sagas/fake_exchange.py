"""A small exchange on this machine that misbehaves, for the story and the tests."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

Manner = Literal["refuses", "delays", "forgets to answer", "books, and answers 500"]


@dataclass
class FakeExchange:
    """The book of the exchange.

    Attributes:
        manners: how it treats an order, by the order's quantity; it books all other orders.
        booked: the booked amounts, by the keys of their requests.
        cancelled: the keys that were cancelled; it refuses them from then on.
        delays: set once it has booked an order and does not answer.
    """

    manners: Mapping[int, Manner]
    booked: dict[str, Decimal] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    delays: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    _closed: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextmanager
    def open(cls, manners: Mapping[int, Manner]) -> Iterator[Self]:
        """Let it listen on a port of 127.0.0.1 until the end of the block."""
        exchange = cls(manners)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                do = exchange._book if self.path == "/book" else exchange._cancel
                status, text = do(self.headers["Idempotency-Key"], order)
                if status:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        exchange.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield exchange
        finally:
            exchange._closed.set()
            server.shutdown()
            server.server_close()

    def _book(self, key: str, order: dict[str, Any]) -> tuple[int, str]:
        """The status and the text of the answer; status 0 means no answer."""
        manner = self.manners.get(order["quantity"])
        if manner == "refuses" or key in self.cancelled:
            return 409, "not this one"
        again = key in self.booked
        price = Decimal(order["limit_price"]) - 1
        self.booked[key] = order["quantity"] * price
        if manner == "delays" and not again:
            self.delays.set()
            self._closed.wait()
            return 0, ""
        if manner == "books, and answers 500" and not again:
            return 500, ""
        return (0, "") if manner == "forgets to answer" else (200, str(price))

    def _cancel(self, key: str, _: object) -> tuple[int, str]:
        self.booked.pop(key, None)
        self.cancelled.add(key)
        return 200, "cancelled"
