"""The sign of life of a process that answers on no port."""

import asyncio
import time
from pathlib import Path

import pytest

from my_project.data_layer import heartbeat
from tests.layer import PATIENCE


async def test_the_file_is_touched_while_the_event_loop_turns_and_not_while_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "alive"
    monkeypatch.setenv("HEARTBEAT_FILE", str(file))
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)

    async def touched_after(moment: int) -> int:
        async with asyncio.timeout(PATIENCE):
            while not file.exists() or file.stat().st_mtime_ns <= moment:
                await asyncio.sleep(0.01)
        return file.stat().st_mtime_ns

    async with heartbeat.heartbeat():
        await touched_after(await touched_after(0))
        before = file.stat().st_mtime_ns
        time.sleep(0.1)
        assert file.stat().st_mtime_ns == before
        await touched_after(before)
    # Its end has been waited for by one turn of the loop.
    await asyncio.sleep(0)
    ended = file.stat().st_mtime_ns
    await asyncio.sleep(0.1)
    assert file.stat().st_mtime_ns == ended


async def test_nobody_asked_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEARTBEAT_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    async with heartbeat.heartbeat():
        await asyncio.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
