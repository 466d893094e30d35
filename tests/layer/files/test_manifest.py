"""The manifest: several writers at once, a line that was left unfinished, wrong lines."""

import multiprocessing
from pathlib import Path

import pytest

from my_project.data_layer.files import DataTree, FilesError, Manifest
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
def test_an_unfinished_line_is_dropped(tree: DataTree) -> None:
    manifest = Manifest(tree)
    for name in ("raw/a.txt", "raw/b.txt"):
        tree.path(name).write_text(f"{name} \u2028")
    first = manifest.record("raw/a.txt", source="acme \u2028 & sons", licence="CC0-1.0")
    with manifest.file.open("a") as file:
        file.write('{"path": "raw/c.t')
    assert manifest.entries() == {"raw/a.txt": first}
    second = manifest.record("raw/b.txt", source="acme", licence="CC0-1.0")
    assert manifest.entries() == {"raw/a.txt": first, "raw/b.txt": second}


def test_the_last_line_of_a_path_holds(tree: DataTree) -> None:
    manifest = Manifest(tree)
    tree.path("raw/a.txt").write_text("old")
    manifest.record("raw/a.txt", source="acme", licence="CC0-1.0")
    tree.path("raw/a.txt").write_text("new!")
    entry = manifest.record("raw/a.txt", source="acme", licence="CC-BY-4.0")
    assert manifest.entries() == {"raw/a.txt": entry}
    assert (entry.size, entry.licence) == (4, "CC-BY-4.0")
    manifest.forget("raw/a.txt")
    assert manifest.entries() == {}


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
