"""The manifest: several writers at once, what it refuses, wrong lines."""

import multiprocessing
from pathlib import Path

import pytest

from my_project.data_layer.files import DataTree, FilesError, Manifest, batches, row_count
from tests.layer import PATIENCE


def _record(root: str, writer: int) -> None:
    tree = DataTree(Path(root))
    for number in range(20):
        name = f"raw/{writer}-{number}.txt"
        tree.path(name).write_text(name)
        Manifest(tree).record(name, source="acme", licence="CC0-1.0")


def test_processes_record_at_once(tree: DataTree) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_record, args=(str(tree.root), one)) for one in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0]
    expected = {f"raw/{one}-{number}.txt" for one in range(2) for number in range(20)}
    assert set(Manifest(tree).entries()) == expected


@pytest.mark.standard("DL-FI-07")
def test_the_last_record_of_a_path_holds(tree: DataTree) -> None:
    manifest = Manifest(tree)
    for name in ("raw/a.txt", "raw/b.txt"):
        tree.path(name).write_text("old")
    manifest.record("raw/a.txt", source="acme", licence="CC0-1.0")
    other = manifest.record("raw/b.txt", source="acme \u2028 & sons", licence="CC0-1.0")
    tree.path("raw/a.txt").write_text("new!")
    entry = manifest.record("raw/a.txt", source="acme", licence="CC-BY-4.0")
    assert manifest.entries() == {"raw/b.txt": other, "raw/a.txt": entry}
    assert (entry.size, entry.licence) == (4, "CC-BY-4.0")
    manifest.forget("raw/a.txt")
    assert manifest.entries() == {"raw/b.txt": other}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf\n <!DOCTYPE html><html>Log in</html>", "a page of HTML"),
        (b'<?xml version="1.0"?>\n<!-- saved -->\n<!DOCTYPE html PUBLIC "x">', "a page of HTML"),
        (b"<title>404</title>", "a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
    ],
)
def test_what_stands_in_for_data_is_neither_recorded_nor_read(
    tree: DataTree, content: bytes, words: str
) -> None:
    for name in ("raw/a.csv", "raw/a.csv.gz", "raw/a.parquet", "raw/a.bin"):
        tree.path(name).write_bytes(content)
        with pytest.raises(FilesError, match=f"{words}.*, so it is not recorded"):
            Manifest(tree).record(name, source="acme", licence="CC0-1.0")
        if name != "raw/a.bin":
            with pytest.raises(FilesError, match=f"{words}.*; get the file again"):
                batches(tree.path(name))
            assert row_count(tree.path(name)) is None
    tree.path("raw/page.html").write_bytes(b"<html></html>")
    Manifest(tree).record("raw/page.html", source="acme", licence="CC0-1.0")
    assert set(Manifest(tree).entries()) == {"raw/page.html"}


@pytest.mark.parametrize("line", [b"no json", b"{}", b'{"path": "raw/a", "sha256": "no"}', b"\xff"])
def test_a_wrong_line_is_named(tree: DataTree, line: bytes) -> None:
    manifest = Manifest(tree)
    manifest.file.write_bytes(line + b"\n")
    with pytest.raises(FilesError, match=r"Line 1 of .*manifest\.jsonl can't be read"):
        manifest.entries()


def test_only_what_is_there_is_recorded(tree: DataTree) -> None:
    with pytest.raises(FilesError, match="There is no file"):
        Manifest(tree).record("raw/gone.csv", source="acme", licence="CC0-1.0")
    with pytest.raises(FilesError, match="is no path of the data tree"):
        Manifest(tree).record("../x.csv", source="acme", licence="CC0-1.0")
