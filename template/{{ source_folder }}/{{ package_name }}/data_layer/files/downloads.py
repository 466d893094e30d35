"""Download files: check them before they get their names, and record them."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
import stamina
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..atomic import replacing, writing
from .errors import FilesError, WrongHash
from .formats import what_instead_of_data
from .manifest import Entry, Manifest, hash_of
from .tree import DataTree

ATTEMPTS = 6
TIMEOUT = 30.0
# If the server asks for a longer pause, a person decides when to try again.
LONGEST_PAUSE = 120.0
REDIRECTS = 10

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_CODINGS = {"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"}
_COMPRESSED_ITSELF = (".gz", ".tgz", ".z", ".br", ".zst")

Show = Callable[[int, int | None], None]


class _TryAgain(Exception):
    """A failure of the server, or on the way to it, that may be gone in a moment.

    Attributes:
        pause: the seconds that the server asks for, if it does.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Download:
    """A file to fetch.

    Attributes:
        url: `https://…`, without a user name or a password.
        path: where the file belongs within the data tree, such as `raw/quandl/IBM.csv`.
        source: who publishes the data, as data/README.md names it.
        licence: the licence under which the data may be used.
        sha256: the hash of the file, if it is known; without it the first download decides.
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
            # The manifest would show it.
            raise FilesError(
                f"The URL of {self.path} holds a name or password; pass a header instead."
            )
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise FilesError(
                f"The SHA-256 of {self.path} must be 64 lowercase hexadecimal digits; "
                "`sha256sum FILE` prints them."
            )


def fetch(
    download: Download,
    tree: DataTree,
    *,
    headers: Mapping[str, str] | None = None,
    attempts: int = ATTEMPTS,
) -> Entry:
    """Bring a file into the data tree unless it is there already, and return its record.

    The file gets its name when it is complete, has the right hash and is on the disk. Two
    processes that want the same file download it once.

    Args:
        download: what to fetch.
        tree: where it belongs.
        headers: sent with every request, such as `Authorization`, but not to another host to which
            the first one redirects; the manifest does not record them.
        attempts: how often to try while the server does not answer, answers with 408, 429 or 5xx,
            or cuts the connection. A download that was cut continues where it broke if the server
            names the version of the file by a strong ETag, and begins again if not. The pauses grow
            from half a second on, unless the server says how long to wait.

    Raises:
        WrongHash: the file has another hash than expected.
        FilesError: the server refuses or sends something else than data, or the path holds a file
            that nobody recorded.
        NotWritten: the disk refuses the file.
    """
    target = tree.path(download.path)
    manifest = Manifest(tree)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target), FileLock(target.with_name(f".{target.name}.lock")):
        if known := _already_there(download, target, manifest):
            return known
        with replacing(target) as part:
            _receive(download, part, dict(headers or {}), attempts)
        return _record(download, manifest)


def _already_there(download: Download, target: Path, manifest: Manifest) -> Entry | None:
    if not target.exists():
        return None
    entry = manifest.entries().get(download.path)
    digest = hash_of(target)
    if download.sha256 and digest != download.sha256:
        return None  # another version is wanted than the one that is there
    if entry and entry.sha256 == digest and (download.sha256 or entry.url == download.url):
        return entry
    if download.sha256:
        return _record(download, manifest)
    raise FilesError(
        f"{target} is there, but not as {download.url} was recorded; move it away, or give the "
        "SHA-256 of the file that you want."
    )


def _record(download: Download, manifest: Manifest) -> Entry:
    return manifest.record(
        download.path, source=download.source, licence=download.licence, url=download.url
    )


def _receive(download: Download, part: Path, headers: dict[str, str], attempts: int) -> None:
    """Write the file into `part`, and check what arrived."""
    transfer = _Transfer(download, part)
    retrying = stamina.retry_context(
        on=_pause_after, attempts=attempts, timeout=None, wait_initial=0.5, wait_max=20
    )
    try:
        with httpx2.Client(timeout=TIMEOUT) as client, _progress(download.path) as show:
            for attempt in retrying:
                with attempt:
                    transfer.go_on(client, headers, show)
    except _TryAgain as error:
        raise FilesError(
            f"{download.url} could not be downloaded in {attempts} attempts: {error}."
        ) from None
    digest = hash_of(part)
    if digest == download.sha256:
        return
    if instead := what_instead_of_data(part, download.path):
        raise FilesError(f"{download.url} sends {instead}; look at it in a browser.")
    if download.sha256:
        raise WrongHash(
            f"{download.url} has the SHA-256 {digest}, not {download.sha256}. Either the file "
            "was changed at its source or somebody tampers with it; nothing was replaced."
        )


def _pause_after(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if not isinstance(error, _TryAgain):
        return False
    return True if error.pause is None else error.pause


class _Transfer:
    """A running download, and what the server has said of its file.

    Attributes:
        etag: the version that is being received; empty if the server names none, and then the
            download can't be resumed.
        total: the size of the file in bytes, if the server says it.
    """

    def __init__(self, download: Download, part: Path) -> None:
        self.download = download
        self.part = part
        self.etag = ""
        self.total: int | None = None

    def go_on(self, client: httpx2.Client, secret: dict[str, str], show: Show) -> None:
        """Ask for what is missing, and append it.

        Raises:
            _TryAgain: not all of it came, or it does not continue what was received before.
        """
        received = self.part.stat().st_size if self.etag else 0
        # A compressed answer has other bytes than the file: a range of it is no part of the file.
        asked = {"Accept-Encoding": "identity"}
        if received:
            asked |= {"Range": f"bytes={received}-", "If-Range": self.etag}
        try:
            with _answer(client, self.download.url, asked, secret) as response:
                self._refuse(response)
                self._take(response, received, show)
        except httpx2.UnsupportedProtocol as error:
            raise FilesError(
                f"{self.download.url} leads to an address of no use: {error}"
            ) from None
        except httpx2.TransportError as error:
            raise _TryAgain(str(error) or type(error).__name__) from error

    def _refuse(self, response: httpx2.Response) -> None:
        url, status = self.download.url, response.status_code
        if status in (408, 429) or status >= 500:
            pause = _pause_asked_for(response)
            if pause is not None and pause > LONGEST_PAUSE:
                raise FilesError(
                    f"{url}: the server answers {status} and asks to come back in {pause:.0f} s; "
                    "type the command again then."
                )
            raise _TryAgain(f"the server answers {status}", pause)
        if status not in (200, 206, 416):
            raise FilesError(f"{url} can't be downloaded: the server answers {status}.")
        # Many servers send this header with a .gz although they have compressed nothing.
        itself = self.download.path.lower().endswith(_COMPRESSED_ITSELF)
        named = response.headers.get("Content-Encoding", "").lower().split(",")
        if not itself and _CODINGS & {coding.strip() for coding in named}:
            raise FilesError(f"{url} is sent compressed, although it must not be.")

    def _take(self, response: httpx2.Response, received: int, show: Show) -> None:
        etag = response.headers.get("ETag", "")
        if response.status_code == 200:
            received = 0
            self.etag = "" if etag.startswith("W/") else etag
            length = response.headers.get("Content-Length", "")
            end = self.total = int(length) if length.isdecimal() else None
        else:
            end = self._end_of_range(response, received)
            if end is None or etag not in ("", self.etag):
                self.etag = ""
                raise _TryAgain("the server continues another file than it began")
        with self.part.open("ab" if received else "wb") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                received += len(chunk)
                show(received, self.total)
        if end is not None and received > end:
            self.etag = ""
            raise _TryAgain("the server sends more than it promised")
        if self.total is not None and received < self.total:
            raise _TryAgain(f"{received} of {self.total} bytes arrived")

    def _end_of_range(self, response: httpx2.Response, received: int) -> int | None:
        """Where the part of a 206 ends; None if it is not the one that was asked for."""
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or match is None or not received:
            return None
        first, last, total = (int(number) for number in match.groups())
        if first != received or not first <= last < total or self.total not in (None, total):
            return None
        self.total = total
        return last + 1


def _pause_asked_for(response: httpx2.Response) -> float | None:
    """The seconds of Retry-After, which is a number or a time; None where it is neither."""
    asked = response.headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
        return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


@contextmanager
def _answer(
    client: httpx2.Client, url: str, asked: Mapping[str, str], secret: Mapping[str, str]
) -> Iterator[httpx2.Response]:
    """Ask the server and follow its redirects; the secret headers go only to its own host."""
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


@contextmanager
def _progress(what: str) -> Iterator[Show]:
    """Show on a terminal how much has arrived."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda received, total: progress.update(task, completed=received, total=total)
