"""What holds between processes: one load for all of them, and invalidations that arrive in time."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from my_project.data_layer.database import Database
from my_project.data_layer.redis import Cache, RedisSettings, Store
from tests.layer import PATIENCE
from tests.layer.redis.process import NUMBER, READERS, readers, start, watcher
from tests.layer.redis.waiting import eventually

Work = Callable[[Path], Coroutine[Any, Any, None]]

PROCESSES = 3
# What the docs promise: an invalidation has reached every process that hears after this long.
PROMISED = 1.0


@pytest.fixture
async def cache(store: Store) -> AsyncIterator[Cache]:
    async with Cache.open(store) as cache:
        yield cache


@pytest.fixture
def started(redis_settings: RedisSettings, tmp_path: Path) -> Iterator[Callable[[Work], None]]:
    """Starts another process of the service; at the end all are waited for."""
    processes: list[BaseProcess] = []
    try:
        yield lambda work: processes.append(start(redis_settings, work, tmp_path))
        for process in processes:
            process.join(PATIENCE)
        assert [process.exitcode for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


def numbers(folder: Path) -> list[str]:
    return " ".join(path.read_text() for path in folder.glob("found-*")).split()


@pytest.mark.standard("DL-RD-12")
async def test_two_hundred_readers_of_a_cold_key_load_it_once(
    started: Callable[[Work], None], tmp_path: Path
) -> None:
    for _ in range(PROCESSES):
        started(readers)
    await eventually(lambda: count(tmp_path, "ready-*") == PROCESSES)
    (tmp_path / "go").touch()
    await eventually(lambda: count(tmp_path, "found-*") == PROCESSES)

    assert numbers(tmp_path) == ["42"] * (PROCESSES * READERS)
    assert count(tmp_path, "loaded-*") == 1


@pytest.mark.standard("DL-RD-13")
async def test_an_invalidation_reaches_other_processes_in_time(
    started: Callable[[Work], None], cache: Cache, database: Database, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_text("0")
    started(watcher)
    await eventually((tmp_path / "seen-0").exists)
    took = []
    for number in range(1, 11):
        source.write_text(str(number))
        async with database.transaction() as session:
            cache.invalidate(session, NUMBER, "watched")
        begun = time.monotonic()
        await eventually((tmp_path / f"seen-{number}").exists)
        took.append(float((tmp_path / f"seen-{number}").read_text()) - begun)
    (tmp_path / "end").touch()
    # By itself the other process would keep each for minutes; a busy machine may let some wait.
    assert min(took) < PROMISED, took
