"""Downloads that resume, are checked by their hash, and are recorded."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import stamina
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..atomic import PART, publish, writing
from .errors import FilesError
from .manifest import Entry, Manifest, hash_of
from .tree import DataTree

ATTEMPTS = 6
TIMEOUT = 30.0
# Whoever is asked to wait longer types the command again.
LONGEST_PAUSE = 120.0
REDIRECTS = 10


class WrongHash(FilesError):
    """What was downloaded is not what was asked for; nothing was replaced."""


class _TryAgain(Exception):
    """The server or the way to it may be better in a moment.

    Attributes:
        pause: the seconds that the server asks for, if it does.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Download:
    """What is fetched, and what must be known of it.

    Attributes:
        url: `https://…`; names and passwords have no place in it.
        path: where the file belongs within the data tree, such as `raw/quandl/IBM.csv`.
        source: who publishes the data, as data/README.md names it.
        licence: under which they may be used.
        sha256: of the file, when it is known; without it the first download decides.
    """

    url: str
    path: str
    source: str
    licence: str
    sha256: str = ""

    def __post_init__(self) -> None:
        try:
            url = httpx2.URL(self.url)
        except httpx2.InvalidURL as error:
            raise FilesError(f"{self.path} has no usable URL: {error}.") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise FilesError(f"The URL of {self.path} must begin with https:// and name a host.")
        if url.userinfo:
            # The manifest and the progress would show it.
            raise FilesError(
                f"The URL of {self.path} holds a name or password; pass a header instead."
            )
        if self.sha256 and not (len(self.sha256) == 64 and set(self.sha256) <= _DIGITS):
            raise FilesError(
                f"The SHA-256 of {self.path} must be 64 lowercase hexadecimal digits; "
                "`sha256sum FILE` prints them."
            )


def fetch(
    download: Download,
    tree: DataTree,
    *,
    headers: Mapping[str, str] | None = None,
    console: Console | None = None,
    attempts: int = ATTEMPTS,
) -> Entry:
    """Bring a file into the data tree unless it is there already, and return its record.

    What arrived before a connection broke stays in a `.part` file, and the next attempt or the
    next call asks the server for the rest of the same version; a server that can't resume sends
    the whole again. The file gets its name when it is complete, has the right hash and is on the
    disk. Two processes that want the same file download it once.

    Args:
        download: what to fetch.
        tree: where it belongs.
        headers: sent with every request, such as `Authorization`, but to no other host that the
            first redirects to; they are recorded nowhere.
        console: shows the progress, if it is a terminal.
        attempts: how often to try while the server does not answer, answers with 408, 429 or 5xx,
            or cuts the connection; the pauses between grow from half a second on, unless the server
            says how long.

    Raises:
        WrongHash: the file has another hash than expected; the good file, if any, is untouched.
        FilesError: the server refuses, the file can't be written, or there is one that nobody
            recorded.
    """
    target = tree.path(download.path)
    manifest = Manifest(tree)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target), FileLock(_beside(target, ".lock")):
        if known := _already_there(download, target, manifest):
            return known
        with _progress(console) as progress:
            task = progress.add_task(target.name, total=None)

            def show(received: int, total: int | None) -> None:
                progress.update(task, completed=received, total=total)

            part = _Part(download, target)
            resumed = part.received > 0
            digest = _receive(part, dict(headers or {}), attempts, show)
            if resumed and download.sha256 not in ("", digest):
                # The beginning may be of another version: what is whole decides.
                part.begin()
                digest = _receive(part, dict(headers or {}), attempts, show)
        if download.sha256 not in ("", digest):
            part.forget()
            raise WrongHash(
                f"{download.url} has the SHA-256 {digest}, not {download.sha256}. Either the file "
                "was changed at its source or somebody tampers with it; nothing was replaced."
            )
        part.publish(target)
        return manifest.record(
            download.path,
            source=download.source,
            licence=download.licence,
            url=download.url,
            sha256=digest,
        )


def _already_there(download: Download, target: Path, manifest: Manifest) -> Entry | None:
    if not target.exists():
        return None
    entry = manifest.entries().get(download.path)
    digest = hash_of(target)
    if download.sha256:
        if digest != download.sha256:
            return None  # another version is wanted than the one that is there
        if entry and entry.sha256 == digest:
            return entry
        return manifest.record(
            download.path,
            source=download.source,
            licence=download.licence,
            url=download.url,
            sha256=digest,
        )
    if entry and entry.sha256 == digest and entry.url == download.url:
        return entry
    raise FilesError(
        f"{target} is there, but not as {download.url} was recorded; move it away, or give the "
        "SHA-256 of the file that you want."
    )


def _receive(
    part: "_Part", headers: dict[str, str], attempts: int, show: Callable[[int, int | None], None]
) -> str:
    """Complete the `.part` file and return its hash."""
    retrying = stamina.retry_context(
        on=_pause_after, attempts=attempts, timeout=None, wait_initial=0.5, wait_max=20
    )
    try:
        with httpx2.Client(timeout=TIMEOUT) as client:
            for attempt in retrying:
                with attempt:
                    part.continue_from(client, headers, show)
    except _TryAgain as error:
        raise FilesError(
            f"{part.download.url} could not be downloaded in {attempts} attempts: {error}. "
            "What arrived is kept; type the command again to go on."
        ) from None
    return hash_of(part.path)


def _pause_after(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if not isinstance(error, _TryAgain):
        return False
    return True if error.pause is None else error.pause


class _Part:
    """The bytes that have arrived, and the version of the file that they belong to."""

    def __init__(self, download: Download, target: Path) -> None:
        self.download = download
        self.path = _beside(target, PART)
        self.about = _beside(target, f"{PART}.json")
        if not self._belongs():
            self.begin()

    @property
    def received(self) -> int:
        """How many bytes are there."""
        return self.path.stat().st_size

    def begin(self) -> None:
        """Forget what arrived."""
        self.path.unlink(missing_ok=True)
        self._remember("")
        self.path.touch()

    def forget(self) -> None:
        """Leave nothing of what arrived."""
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def publish(self, target: Path) -> None:
        """Give the complete file its name."""
        publish(self.path, target)
        self.about.unlink(missing_ok=True)

    def continue_from(
        self,
        client: httpx2.Client,
        headers: dict[str, str],
        show: Callable[[int, int | None], None],
    ) -> None:
        """Ask for what is missing, and append it.

        Raises:
            _TryAgain: it did not all come, or not what continues the beginning.
        """
        received = self.received
        validator = self._state()["validator"]
        # Compressed on the way, a range would be one of other bytes.
        asked = {"Accept-Encoding": "identity"}
        # With a validator the server sends the rest only of the same version. Without one, only a
        # known hash can tell whether two halves belong together.
        if received and (validator or self.download.sha256):
            asked["Range"] = f"bytes={received}-"
            if validator:
                asked["If-Range"] = validator
        try:
            with _answer(client, self.download.url, asked, headers) as response:
                self._take(response, received, show)
        except httpx2.UnsupportedProtocol as error:
            reason = f"{self.download.url} leads to an address of no use: {error}"
            raise FilesError(reason) from None
        except httpx2.TransportError as error:
            raise _TryAgain(str(error) or type(error).__name__) from error

    def _take(
        self,
        response: httpx2.Response,
        received: int,
        show: Callable[[int, int | None], None],
    ) -> None:
        status = response.status_code
        if status in (408, 429) or status >= 500:
            pause = _pause_asked_for(response)
            if pause is not None and pause > LONGEST_PAUSE:
                raise FilesError(
                    f"{self.download.url}: the server answers {status} and asks to come back in "
                    f"{pause:.0f} s. What arrived is kept; type the command again then."
                )
            raise _TryAgain(f"the server answers {status}", pause)
        if status == 416:
            # Nothing lies behind what is there: it is complete, or of another version.
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
            if size == str(received) and self.download.sha256 == hash_of(self.path):
                return
            self.begin()
            raise _TryAgain("the server has another version than before")
        if status not in (200, 206):
            raise FilesError(
                f"{self.download.url} can't be downloaded: the server answers {status}."
            )
        encoding = response.headers.get("Content-Encoding", "identity")
        # Many servers say of a file that is compressed itself how it is, as if they had done it.
        itself = encoding in ("gzip", "x-gzip") and self.download.path.endswith((".gz", ".tgz"))
        if encoding != "identity" and not itself:
            raise FilesError(f"{self.download.url} is sent compressed, although it must not be.")
        start = _start_of(response) if status == 206 else 0
        if start and self._state()["validator"] not in ("", _validator(response)):
            self.begin()
            raise _TryAgain("the server continues another version than it began")
        if start != received:
            self.begin()
        if start != 0 and start != received:
            raise _TryAgain("the server sends another range than was asked for")
        self._remember(_validator(response))
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with self.path.open("ab") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                start += len(chunk)
                show(start, total)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and start != total:
            raise _TryAgain(f"{start} of {total} bytes arrived")

    def _belongs(self) -> bool:
        state = self._state()
        return (
            self.path.is_file()
            and state["url"] == self.download.url
            and state["sha256"] == self.download.sha256
        )

    def _remember(self, validator: str) -> None:
        self.about.write_text(
            json.dumps(
                {
                    "url": self.download.url,
                    "sha256": self.download.sha256,
                    "validator": validator,
                }
            ),
            encoding="utf-8",
        )

    def _state(self) -> dict[str, str]:
        nothing = {"url": "", "sha256": "", "validator": ""}
        try:
            read = json.loads(self.about.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return nothing
        return nothing | read if isinstance(read, dict) else nothing


_DIGITS = set("0123456789abcdef")


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}{suffix}")


def _start_of(response: httpx2.Response) -> int:
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdigit() else -1


def _validator(response: httpx2.Response) -> str:
    """What If-Range may send: a strong ETag, or the time of the last change."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return str(response.headers.get("Last-Modified", ""))


def _pause_asked_for(response: httpx2.Response) -> float | None:
    """The seconds of Retry-After, which is a number or a time; None where it is neither."""
    asked = response.headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return None
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())


@contextmanager
def _answer(
    client: httpx2.Client, url: str, asked: Mapping[str, str], secret: Mapping[str, str]
) -> Iterator[httpx2.Response]:
    """What the server answers, or the one that it redirects to, which never hears the secrets."""
    request = client.build_request("GET", url, headers={**secret, **asked})
    for _ in range(REDIRECTS):
        response = client.send(request, stream=True)
        try:
            following = response.next_request
            if following is None:
                yield response
                return
        finally:
            response.close()
        if _origin(following) != _origin(request):
            for name in secret:
                following.headers.pop(name, None)
        request = following
    raise FilesError(f"{url} is redirected more than {REDIRECTS} times.")


def _origin(request: httpx2.Request) -> tuple[str, str, int | None]:
    return request.url.scheme, request.url.host, request.url.port


def _progress(console: Console | None) -> Progress:
    shown = console or Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), DownloadColumn()]
    columns.append(TransferSpeedColumn())
    return Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)
