"""The cache of remote files: bounded, least recently used out, shared by processes."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from my_project.data_layer.files import FilesError
from my_project.data_layer.files.cache import FileCache
from tests.layer import PATIENCE

KB = 1000


def content(letter: str, size: int = KB) -> Callable[[Path], None]:
    def fill(target: Path) -> None:
        target.write_bytes(letter.encode() * size)

    return fill


def never(target: Path) -> None:
    raise AssertionError(f"{target.name} is fetched again")


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", 3 * KB)


def use(cache: FileCache, name: str, fill: Callable[[Path], None] | None = None) -> None:
    time.sleep(0.02)  # so that the times of use differ, which the kernel takes in steps
    with cache.copy(f"raw/{name}.csv", "1", KB, fill or content(name)) as copy:
        assert copy.name.endswith(f"-{name}.csv")
        assert copy.read_bytes() == name.encode() * KB


@pytest.mark.standard("DL-FI-09")
def test_what_was_used_least_recently_goes(cache: FileCache) -> None:
    for name in "abc":
        use(cache, name)
    use(cache, "a", never)
    assert cache.used() == 3 * KB
    use(cache, "d")
    assert cache.used() == 3 * KB
    for name in "acd":
        use(cache, name, never)
    with pytest.raises(AssertionError, match=r"b\.csv.* is fetched again"):
        use(cache, "b", never)


def test_a_new_version_is_another_copy(cache: FileCache) -> None:
    use(cache, "a")
    with cache.copy("raw/a.csv", "2", KB, content("z")) as copy:
        assert copy.read_bytes() == b"z" * KB
    use(cache, "a", never)


def test_what_is_in_use_stays(cache: FileCache) -> None:
    with cache.copy("raw/a.csv", "1", KB, content("a")) as copy:
        for name in "bcde":
            use(cache, name)
        assert copy.read_bytes() == b"a" * KB
        assert cache.evict(0) == (2, 2 * KB)
        assert copy.exists()
    assert cache.evict(0) == (1, KB)
    assert cache.used() == 0


def test_files_in_use_may_exceed_the_limit_and_no_others(cache: FileCache) -> None:
    with cache.copy("raw/a.csv", "1", 2 * KB, content("a", 2 * KB)):
        use(cache, "b")
        with cache.copy("raw/c.csv", "1", 2 * KB, content("c", 2 * KB)):
            assert cache.used() == 4 * KB
    use(cache, "d")
    assert cache.used() == 3 * KB


def test_a_file_larger_than_the_cache_is_a_sentence(cache: FileCache) -> None:
    with (
        pytest.raises(FilesError, match="does not fit into the cache; raise FILES_CACHE_SIZE"),
        cache.copy("raw/c.csv", "1", 4 * KB, never),
    ):
        pass


def test_a_fetch_that_fails_leaves_nothing(cache: FileCache) -> None:
    def failing(target: Path) -> None:
        target.write_bytes(b"half")
        raise ConnectionError("the network is gone")

    with pytest.raises(ConnectionError), cache.copy("raw/a.csv", "1", KB, failing):
        pass
    assert cache.used() == 0
    use(cache, "a")


def test_what_a_killed_process_left_goes(cache: FileCache) -> None:
    part = cache.folder / ".0f-x.csv.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * KB)

    def while_it_is_filled(target: Path) -> None:
        cache.evict(0)
        content("a")(target)

    use(cache, "a", while_it_is_filled)
    assert not part.exists()


def _read(folder: str, reader: int, seconds: float) -> None:
    cache = FileCache(Path(folder), 3 * KB)
    until = time.monotonic() + seconds
    number = reader
    while time.monotonic() < until:
        number += 1
        name = "abcdef"[number % 6]
        with cache.copy(f"raw/{name}.csv", "1", KB, content(name)) as copy:
            for _ in range(3):
                if copy.read_bytes() != name.encode() * KB:
                    os._exit(3)


def _prune(folder: str, seconds: float) -> None:
    cache = FileCache(Path(folder), 3 * KB)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        cache.evict(0)


def test_processes_read_while_others_prune(cache: FileCache) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_read, args=(str(cache.folder), reader, 1.0)) for reader in (0, 3)
    ]
    processes.append(context.Process(target=_prune, args=(str(cache.folder), 1.0)))
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    cache.evict(3 * KB)
    assert cache.used() <= 3 * KB
    assert [process.exitcode for process in processes] == [0, 0, 0]
