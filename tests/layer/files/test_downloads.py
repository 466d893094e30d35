"""Downloads: checked, resumed, retried, recorded, and done once."""

import gzip
import hashlib
import multiprocessing
import random
import resource
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import stamina
from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from my_project.data_layer.atomic import NotWritten
from my_project.data_layer.files import (
    DataTree,
    Download,
    FilesError,
    Manifest,
    WrongHash,
    fetch,
)
from tests.layer import PATIENCE
from tests.layer.files.server import WebServer, web_server

# Two megabytes that no compression shortens, the same in every run.
CONTENT = random.Random(1).randbytes(2_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        server.files["/x.bin"] = CONTENT
        yield server


@pytest.fixture(autouse=True)
def _retry_at_once() -> Iterator[None]:
    """The same attempts, without the pauses between them."""
    with stamina.set_testing(True, attempts=6, cap=True):
        yield


def wanted(server: WebServer, *, sha256: str = SHA256, path: str = "/x.bin") -> Download:
    return Download(f"{server.url}{path}", "raw/x.bin", "acme", "CC0-1.0", sha256)


def parts(tree: DataTree) -> list[str]:
    return sorted(path.name for path in (tree.root / "raw").glob(".*.part"))


def test_arrives_and_is_recorded(tree: DataTree, server: WebServer) -> None:
    entry = fetch(wanted(server), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT
    assert (entry.sha256, entry.size, entry.rows) == (SHA256, len(CONTENT), None)
    assert (entry.source, entry.licence) == ("acme", "CC0-1.0")
    assert entry.url == f"{server.url}/x.bin"
    assert Manifest(tree).entries() == {"raw/x.bin": entry}
    assert parts(tree) == []


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_the_second_time_nothing_is_asked(tree: DataTree, server: WebServer, sha256: str) -> None:
    first = fetch(wanted(server, sha256=sha256), tree)
    assert fetch(wanted(server, sha256=sha256), tree) == first
    assert len(server.requests) == 1


def test_counts_the_rows_of_a_table(tree: DataTree, server: WebServer) -> None:
    server.files["/t.csv"] = b'a,b\n1,"two\nlines"\n2,x\n'
    download = Download(f"{server.url}/t.csv", "raw/t.csv", "acme", "CC0-1.0")
    assert fetch(download, tree).rows == 2


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_cut_connection_is_resumed(tree: DataTree, server: WebServer, sha256: str) -> None:
    server.cut_after = [300_000, 0, 900_000]
    fetch(wanted(server, sha256=sha256), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT
    asked = [one.removeprefix("bytes=").removesuffix("-") for one in server.requests]
    assert asked[0] == ""
    assert [int(one) for one in asked[1:]] == sorted(int(one) for one in asked[1:])
    # What had arrived was not asked for again.
    assert int(asked[-1]) > 900_000


def test_a_server_that_cannot_resume_sends_the_whole(tree: DataTree, server: WebServer) -> None:
    server.ranges = False
    server.cut_after = [700_000]
    fetch(wanted(server), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT


def changing(server: WebServer) -> None:
    """Cut the first answer, and change the file before the next request."""
    server.cut_after = [600_000]
    server.files["/x.bin"] = CONTENT[::-1]
    server.later["/x.bin"] = CONTENT


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_two_versions_are_never_mixed(
    tree: DataTree, server: WebServer, etags: bool, if_range: bool, sha256: str
) -> None:
    """Also where a server answers 206 whatever If-Range says, and no hash would tell."""
    server.etags, server.if_range = etags, if_range
    changing(server)
    fetch(wanted(server, sha256=sha256), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "range_",
    [
        "bytes 600000-1999999/3000000",  # another size than promised
        "bytes 600000-600001/2000000",  # more is sent than said
        "bytes 0-1999999/2000000",  # another beginning
        "bytes 600000-1999999/*",
        "bytes 600000-9/2000000",
        "bytes 600000-2000000/2000000",
        "lines 600000-1999999/2000000",
        "",
    ],
)
def test_a_part_that_was_not_asked_for_is_not_believed(
    tree: DataTree, server: WebServer, range_: str
) -> None:
    server.cut_after = [600_000]
    server.content_range = range_
    fetch(wanted(server, sha256=""), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT
    assert [bool(one) for one in server.requests] == [False, True, False]


def test_a_shorter_part_than_asked_for_is_no_whole_file(tree: DataTree, server: WebServer) -> None:
    """A server may send less than it was asked for, as long as it says so."""
    server.longest_part = 500_000
    server.cut_after = [600_000]
    fetch(wanted(server, sha256=""), tree)
    assert server.requests == ["", "bytes=600000-", "bytes=1100000-", "bytes=1600000-"]
    assert tree.path("raw/x.bin").read_bytes() == CONTENT


def test_a_part_that_nobody_asked_for_is_no_file(tree: DataTree, server: WebServer) -> None:
    """As a cache between may send it that keeps the answer to somebody else."""
    server.headers["Content-Range"] = "bytes 0-5/12"
    server.files["/x.bin"] = CONTENT[:6]
    server.status = 206
    with pytest.raises(FilesError, match="continues another file than it began"):
        fetch(wanted(server, sha256=""), tree, attempts=2)
    assert not tree.path("raw/x.bin").exists()


@pytest.mark.parametrize("length", ["2000001", "nonsense"])
def test_a_wrong_length_is_no_complete_file(tree: DataTree, server: WebServer, length: str) -> None:
    server.headers["Content-Length"] = length
    with pytest.raises(FilesError, match="could not be downloaded in 2 attempts"):
        fetch(wanted(server, sha256=""), tree, attempts=2)
    assert not tree.path("raw/x.bin").exists()


@pytest.fixture
def pauses() -> Iterator[list[float]]:
    """The pauses before each further attempt."""
    waits: list[float] = []

    def note(details: RetryDetails) -> None:
        waits.append(details.wait_for)

    before = get_on_retry_hooks()
    set_on_retry_hooks([note])
    yield waits
    set_on_retry_hooks(before)


def test_a_server_says_when_to_come_back(
    tree: DataTree, server: WebServer, pauses: list[float]
) -> None:
    server.headers["Retry-After"] = "0"
    server.statuses = [429]
    with stamina.set_testing(False):
        fetch(wanted(server), tree)
    assert pauses == [0.0]  # of its own it would wait half a second at least
    tree.path("raw/x.bin").unlink()
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    for asked, told in ((in_an_hour, r"3\d\d\d"), ("9" * 400, r"inf"), ("1" + "0" * 22, r"10{22}")):
        server.headers["Retry-After"] = asked
        server.statuses = [503]
        with pytest.raises(FilesError, match=rf"answers 503 and asks to come back in {told} s"):
            fetch(wanted(server), tree)
    for nonsense in ("Fri, 31 Dec 9999 23:59:59 -0100", "soon", "-5", "\xb2"):
        server.headers["Retry-After"] = nonsense
        server.statuses = [503]
        fetch(wanted(server), tree)
        tree.path("raw/x.bin").unlink()


def test_a_redirect_is_followed_without_the_secrets(tree: DataTree, server: WebServer) -> None:
    secret = {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret too"}
    with web_server() as other:
        other.files["/moved.bin"] = CONTENT
        server.redirects = {"/x.bin": "/y.bin", "/y.bin": f"{other.url}/moved.bin"}
        entry = fetch(wanted(server), tree, headers=secret)
        assert server.authorizations == ["Bearer s3cret"] * 2
        assert server.keys == ["s3cret too"] * 2
        assert (other.authorizations, other.keys) == ([""], [""])
    assert entry.url == f"{server.url}/x.bin"


@pytest.mark.parametrize(
    ("location", "words"),
    [("/x.bin", "redirected more than 10 times"), ("ftp://host/x", "address of no use")],
)
def test_a_redirect_that_leads_nowhere(
    tree: DataTree, server: WebServer, location: str, words: str
) -> None:
    server.redirects = {"/x.bin": location}
    with pytest.raises(FilesError, match=words):
        fetch(wanted(server), tree)
    assert len(server.requests) <= 10


@pytest.mark.parametrize("coding", ["", "identity", "Identity, ", "UTF-8", "aws-chunked"])
def test_what_is_no_compression_is_none(tree: DataTree, server: WebServer, coding: str) -> None:
    server.headers["Content-Encoding"] = coding
    fetch(wanted(server), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT


def test_what_is_compressed_itself_comes_as_it_is(tree: DataTree, server: WebServer) -> None:
    for coding in ("identity, br", "GZIP"):
        server.headers["Content-Encoding"] = coding
        with pytest.raises(FilesError, match="sent compressed, although it must not be"):
            fetch(wanted(server), tree)
    server.files["/x.csv.gz"] = gzip.compress(b"a\n1\n")
    fetch(Download(f"{server.url}/x.csv.gz", "raw/x.csv.gz", "acme", "CC0-1.0"), tree)
    assert gzip.decompress(tree.path("raw/x.csv.gz").read_bytes()) == b"a\n1\n"


def test_a_full_disk_is_a_sentence(tree: DataTree, server: WebServer) -> None:
    """As far as a limit on the size of files can stand for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(NotWritten, match=r"raw/x\.bin can't be written: File too large"):
            fetch(wanted(server), tree)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not tree.path("raw/x.bin").exists()
    fetch(wanted(server), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT


def test_a_table_that_nobody_can_read_yet_is_recorded(tree: DataTree, server: WebServer) -> None:
    """Remarks above the header, and an encoding of the last century."""
    server.files["/t.csv"] = b"Kurse, Stand: heute\nTag;Erl\xf6s;W\xe4hrung\n1;2;3,4,5\n"
    download = Download(f"{server.url}/t.csv", "raw/t.csv", "acme", "CC0-1.0")
    assert fetch(download, tree).rows is None
    assert fetch(download, tree).rows is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_page_is_no_data(tree: DataTree, server: WebServer, sha256: str) -> None:
    server.files["/x.bin"] = b"<!DOCTYPE html>\n<html>Please log in</html>"
    with pytest.raises(FilesError, match=r"/x\.bin sends a page of HTML; look at it in a browser"):
        fetch(wanted(server, sha256=sha256), tree)
    assert not tree.path("raw/x.bin").exists()
    assert Manifest(tree).entries() == {}


def test_a_wrong_hash_is_refused_and_the_good_file_stays(tree: DataTree, server: WebServer) -> None:
    fetch(wanted(server), tree)
    server.files["/x.bin"] = b"something else"
    other = hashlib.sha256(b"a new version").hexdigest()
    with pytest.raises(WrongHash, match=f"not {other}.*nothing was replaced"):
        fetch(wanted(server, sha256=other), tree)
    assert tree.path("raw/x.bin").read_bytes() == CONTENT
    assert Manifest(tree).entries()["raw/x.bin"].sha256 == SHA256
    assert parts(tree) == []

    server.files["/x.bin"] = b"a new version"
    fetch(wanted(server, sha256=other), tree)
    assert tree.path("raw/x.bin").read_bytes() == b"a new version"


def test_a_busy_server_is_asked_again(tree: DataTree, server: WebServer) -> None:
    server.statuses = [503, 429, 500]
    fetch(wanted(server), tree)
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [404, 401])
def test_a_refusal_is_not(tree: DataTree, server: WebServer, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(FilesError, match=f"the server answers {status}"):
        fetch(wanted(server), tree)
    assert len(server.requests) == 1
    assert not tree.path("raw/x.bin").exists()


def test_nobody_listens(tree: DataTree) -> None:
    download = Download("http://127.0.0.1:1/x", "raw/x.bin", "acme", "CC0-1.0")
    with pytest.raises(FilesError, match="could not be downloaded in 2 attempts"):
        fetch(download, tree, attempts=2)


def test_a_file_that_nobody_recorded_is_not_replaced(tree: DataTree, server: WebServer) -> None:
    tree.path("raw/x.bin").write_bytes(b"mine")
    with pytest.raises(FilesError, match="move it away"):
        fetch(wanted(server, sha256=""), tree)
    assert tree.path("raw/x.bin").read_bytes() == b"mine"


def test_a_good_file_without_a_record_gets_one(tree: DataTree, server: WebServer) -> None:
    tree.path("raw/x.bin").write_bytes(CONTENT)
    entry = fetch(wanted(server), tree)
    assert server.requests == []
    assert Manifest(tree).entries() == {"raw/x.bin": entry}


def test_a_secret_goes_into_a_header_and_nowhere_else(tree: DataTree, server: WebServer) -> None:
    fetch(wanted(server), tree, headers={"Authorization": "Bearer s3cret"})
    assert server.authorizations == ["Bearer s3cret"]
    assert "s3cret" not in Manifest(tree).file.read_text()


@pytest.mark.parametrize(
    ("url", "sha256", "words"),
    [
        ("ftp://host/x", "", "must begin with https://"),
        ("https:///x", "", "name a host"),
        ("https://ada:s3cret@host/x", "", "pass a header instead"),
        ("https://host/x", "ABC", "64 lowercase hexadecimal digits"),
    ],
)
def test_a_wrong_request_is_a_sentence(url: str, sha256: str, words: str) -> None:
    with pytest.raises(FilesError, match=words) as raised:
        Download(url, "raw/x.bin", "acme", "CC0-1.0", sha256)
    assert "s3cret" not in str(raised.value)


def _fetch(url: str, root: str) -> None:
    fetch(Download(f"{url}/x.bin", "raw/x.bin", "acme", "CC0-1.0", SHA256), DataTree(Path(root)))


def test_two_processes_download_once(tree: DataTree, server: WebServer) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_fetch, args=(server.url, str(tree.root))) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.requests == [""]
