"""The same paths on a real S3 server and on a shared disk."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from my_project.data_layer.checklist import Verdict
from my_project.data_layer.files import (
    DataTree,
    FilesError,
    Folder,
    Remote,
    batches,
    write,
)
from my_project.data_layer.files.checks import files_checks
from my_project.data_layer.files.remote import BRIEF, _sentences
from tests.layer.files.s3 import BUCKET, s3_server

NAME = "raw/yahoo_spy_1d_20200101_20231231.parquet"
ROWS = pa.table({"close": [1.0, 2.0]})


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server(tmp_path_factory.mktemp("s3")) as variables:
        yield variables


@pytest.fixture(params=["s3", "disk"])
def remote(
    request: pytest.FixtureRequest,
    tree: DataTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Remote:
    """An empty remote of each kind; the place of the test is its own."""
    if request.param == "disk":
        disk = tmp_path / "a disk"
        disk.mkdir()
        monkeypatch.setenv("FILES_REMOTE_URL", disk.as_uri())
    else:
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        prefix = f"{tmp_path.parent.name}-{tmp_path.name}".replace("[", "").replace("]", "")
        monkeypatch.setenv("FILES_REMOTE_URL", f"s3://{BUCKET}/{prefix}")
    return Remote.of_settings()


def test_the_same_path_there_and_back(remote: Remote, tree: DataTree) -> None:
    write(tree.path(NAME), ROWS)
    before = tree.path(NAME).read_bytes()
    assert remote.push(NAME) == len(before)
    tree.path(NAME).unlink()
    assert remote.pull(NAME) == tree.path(NAME)
    assert tree.path(NAME).read_bytes() == before


def test_a_file_of_the_tree_is_used_as_it_is(remote: Remote, tree: DataTree) -> None:
    write(tree.path(NAME), ROWS)
    with remote.open(NAME) as path:
        assert path == tree.path(NAME)
    assert remote.cache.used() == 0


def test_a_remote_file_is_fetched_once(remote: Remote, tree: DataTree) -> None:
    write(tree.path(NAME), ROWS)
    remote.push(NAME)
    tree.path(NAME).unlink()
    with remote.open(NAME) as path:
        assert batches(path).read_all() == ROWS
        assert path.is_relative_to(tree.folder(Folder.CACHE))
        fetched = path.stat().st_ino
    with remote.open(NAME) as path:
        assert path.stat().st_ino == fetched
    assert not tree.path(NAME).exists()


def test_another_version_is_fetched_again(remote: Remote, tree: DataTree) -> None:
    for table in (ROWS, ROWS.slice(1)):
        write(tree.path(NAME), table)
        remote.push(NAME)
        tree.path(NAME).unlink()
        with remote.open(NAME) as path:
            assert batches(path).read_all() == table


def test_a_large_file_goes_in_parts(remote: Remote, tree: DataTree) -> None:
    path = tree.path("raw/large.bin")
    path.write_bytes(bytes(range(256)) * 50_000)
    before = path.read_bytes()
    remote.push("raw/large.bin")
    path.unlink()
    with remote.open("raw/large.bin") as copy:
        assert copy.read_bytes() == before


def test_what_is_nowhere_is_a_sentence(remote: Remote, tree: DataTree) -> None:
    with pytest.raises(FilesError, match=f"The remote has no {NAME}"), remote.open(NAME):
        pass
    with pytest.raises(FilesError, match="There is no file"):
        remote.push(NAME)
    with pytest.raises(FilesError, match=f"The remote has no {NAME}"):
        remote.pull(NAME)
    assert list(tree.files()) == []
    with pytest.raises(FilesError, match="is no path of the data tree"):
        remote.push("../x.csv")


def test_a_bucket_that_is_not_there_is_no_missing_file(
    s3: dict[str, str], tree: DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FILES_REMOTE_URL", "s3://not-there/x")
    write(tree.path(NAME), ROWS)
    with pytest.raises(FilesError, match=f"can't give {NAME}: NoSuchBucket"):
        Remote.of_settings().pull(NAME)
    assert tree.path(NAME).is_file()


def test_what_azure_says_is_one_line() -> None:
    answer = (
        "Object at location x not found: Error performing GET http://127.0.0.1:10000/x in 4.1ms"
        " - Server returned non-2xx status code: 404 Not Found: <?xml version='1.0'?><Error>"
        "<Code>ContainerNotFound</Code><Message>The specified container does not exist.\n"
        "RequestId:a5bb1859-b275-46c4-ae62-e1ee2828c484\nTime:2026-11-26T07:56:55.850Z</Message>"
    )
    with pytest.raises(FilesError) as raised, _sentences("x"):
        raise FileNotFoundError(answer)
    assert str(raised.value).endswith(
        "can't give x: ContainerNotFound: The specified container does not exist."
    )


async def verdict() -> Verdict:
    (check,) = (one for one in files_checks() if one.id == "DL-FI-08")
    return (await check.probe()).verdict


@pytest.mark.standard("DL-FI-08")
async def test_the_check_knows_wrong_credentials(
    s3: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FILES_REMOTE_URL", f"s3://{BUCKET}")
    assert await verdict() is Verdict.PASSED
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert await verdict() is Verdict.FAILED


@pytest.mark.parametrize(
    ("changed", "url", "words"),
    [
        ({}, "s3://not-there/x", "NoSuchBucket"),
        ({"AWS_ACCESS_KEY_ID": "somebody"}, f"s3://{BUCKET}", "InvalidAccessKeyId|Forbidden|403"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, f"s3://{BUCKET}", "error sending request"),
        ({"AWS_ACCESS_KEY_ID": None}, f"s3://{BUCKET}", "no credentials were found"),
        (
            {
                "AWS_ACCESS_KEY_ID": None,
                "AWS_SECRET_ACCESS_KEY": None,
                "AWS_METADATA_ENDPOINT": "http://127.0.0.1:1",  # that of the machine's role
            },
            f"s3://{BUCKET}",
            "no credentials were found; set the provider's variables, such as AWS_ACCESS_KEY_ID",
        ),
    ],
)
def test_a_remote_that_gives_nothing_is_a_sentence_soon(
    s3: dict[str, str],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str | None],
    url: str,
    words: str,
) -> None:
    for name, value in (s3 | changed).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("FILES_REMOTE_URL", url)
    begun = time.monotonic()
    with pytest.raises(FilesError, match=words) as raised:
        Remote.of_settings().answers()
    # obstore itself tries for three minutes.
    assert time.monotonic() - begun < 100
    assert "\n" not in str(raised.value)
    assert "only-for-the-tests" not in str(raised.value)


def test_a_remote_that_says_nothing_is_given_up(
    s3: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BRIEF, "timeout", "200ms")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("FILES_REMOTE_URL", f"s3://{BUCKET}")
        with pytest.raises(FilesError, match="can't give the remote"):
            Remote.of_settings().answers()


def test_without_a_remote_it_says_so(project: Path) -> None:
    with pytest.raises(FilesError, match="set FILES_REMOTE_URL"):
        Remote.of_settings()
