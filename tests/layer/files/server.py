"""A web server on this machine that can do what real ones do to a download."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServer:
    """Files by their paths, and the requests that were made for them.

    Attributes:
        files: content by path; may be changed while the server runs.
        ranges: whether it can resume.
        etags: whether it names the version of a file.
        if_range: whether it looks at the version that the rest is asked of.
        redirects: where it sends whoever asks for a path.
        headers: what else it says with every answer.
        cut_after: how many bytes of each answer arrive before the connection breaks, one entry an
            answer; when the list is empty answers are whole.
        content_range: what it says of its first part in place of the truth, if it is not None.
        longest_part: how many bytes its parts have at most.
        later: what replaces the content of a path after the first answer.
        statuses: what the next answers say instead of 200.
        status: what a whole answer says of itself.
        requests: the header `Range` of each request, in order.
        keys: the header `X-Api-Key` of each, where a secret may stand that no library knows as one.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.etags = True
        self.if_range = True
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.cut_after: list[int] = []
        self.content_range: str | None = None
        self.longest_part = 1_000_000_000
        self.later: dict[str, bytes] = {}
        self.statuses: list[int] = []
        self.status = 200
        self.requests: list[str] = []
        self.authorizations: list[str] = []
        self.keys: list[str] = []
        self.url = ""


class _Listening(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is what some tests are about, and no news on stderr.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Serve on a free port of the loopback address until the block is left."""
    server = WebServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(server, self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    listening = _Listening(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def _answer(server: WebServer, request: BaseHTTPRequestHandler) -> None:
    asked = request.headers.get("Range", "")
    server.requests.append(asked)
    server.authorizations.append(request.headers.get("Authorization", ""))
    server.keys.append(request.headers.get("X-Api-Key", ""))
    request.close_connection = True
    headers = dict(server.headers)
    if request.path in server.redirects and not server.statuses:
        headers |= {"Location": server.redirects[request.path], "Content-Length": "0"}
        _begin(request, 302, headers)
        return
    content = server.files.get(request.path)
    if server.statuses or content is None:
        status = server.statuses.pop(0) if server.statuses else 404
        _begin(request, status, headers | {"Content-Length": "0"})
        return
    if request.path in server.later:
        server.files[request.path] = server.later.pop(request.path)
    etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    start = 0
    status = server.status
    same = not server.if_range or request.headers.get("If-Range") in (None, etag)
    if asked and server.ranges and same:
        status = 206
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            headers |= {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}
            _begin(request, 416, headers)
            return
        size = len(content)
        content = content[: start + server.longest_part]
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{size}"
        if server.content_range is not None:
            headers["Content-Range"], server.content_range = server.content_range, None
    if server.etags:
        headers["ETag"] = etag
    _begin(request, status, {"Content-Length": str(len(content) - start)} | headers)
    end = start + server.cut_after.pop(0) if server.cut_after else len(content)
    request.wfile.write(content[start:end])


def _begin(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
