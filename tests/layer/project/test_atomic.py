"""A file is there whole, or as it was."""

import fcntl
import os
from pathlib import Path

import pytest

from my_project.data_layer.atomic import NotWritten, leftovers, replacing


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.csv"
    for text in ("first", "second"):
        with replacing(target) as part:
            part.write_text(text)
            assert part.name.startswith(".")
            assert part.suffix == ".part"
            assert not target.exists() or target.read_text() == "first"
        assert target.read_text() == text
        assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(TypeError), replacing(target) as part:
        part.write_text(None)  # type: ignore[arg-type]
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_only_what_nobody_writes_is_left_over(tmp_path: Path) -> None:
    killed = tmp_path / "deep" / ".b.csv.0a1b.part"
    killed.parent.mkdir()
    killed.touch()
    (tmp_path / ".folder.part").mkdir()
    (tmp_path / "c.part").touch()
    with replacing(tmp_path / "a.csv"):
        assert list(leftovers(tmp_path)) == [killed]


def test_a_new_one_is_left_over_once_it_is_old(tmp_path: Path) -> None:
    """Of a process that was killed before it had locked it."""
    old, young, folder = (tmp_path / f".{name}.0a1b.new" for name in ("old", "young", "folder"))
    theirs = tmp_path / "their.new"
    folder.mkdir()
    for path in (old, young, theirs):
        path.touch()
    for path in (old, theirs, folder):
        os.utime(path, (0, 0))
    assert list(leftovers(tmp_path)) == [old]


def test_who_is_taken_for_abandoned_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, lock = tmp_path / "a.csv", fcntl.flock
    taken: list[Path] = []

    def take_first(held: int, how: int) -> None:
        if not taken:
            [new] = tmp_path.glob(".*.new")
            new.unlink()
            taken.append(new)
        lock(held, how)

    monkeypatch.setattr(fcntl, "flock", take_first)
    with replacing(target) as part:
        part.write_text("whole")
    assert len(taken) == 1
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_what_the_disk_refuses_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(NotWritten, match="can't be written: File name too long"),
        replacing(tmp_path / f"{'x' * 250}.csv"),
    ):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(NotWritten, match=r"file/a\.csv can't be written: File exists"),
        replacing(tmp_path / "file" / "a.csv"),
    ):
        pass
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(NotWritten, match="Is a directory"), replacing(target):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}
