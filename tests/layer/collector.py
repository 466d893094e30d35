"""A collector on this machine, which takes traces by OTLP over HTTP as a real one does."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What it was sent.

    Attributes:
        url: for `OTEL_EXPORTER_OTLP_ENDPOINT`.
        spans: the names, by service.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[tuple[str, str]] = []

    def take(self, body: bytes) -> None:
        """One request of an exporter."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans += [
                (about["service.name"], span.name)
                for scope in resource.scope_spans
                for span in scope.spans
            ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.take(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None: ...  # noqa: A002 (its, too)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
