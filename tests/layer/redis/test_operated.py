"""The servers as ops/redis/ runs them: their user, and what survives a crash."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from my_project.data_layer import checklist
from my_project.data_layer.devservers.postgresql import free_port
from my_project.data_layer.devservers.redis import binary
from my_project.data_layer.project import root
from my_project.data_layer.redis import Cache, Store, TimeToLive, UserData, checks
from my_project.data_layer.redis.queue import Queue, QueueSettings
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.tasks import write
from tests.layer.redis.test_topologies import works
from tests.layer.redis.waiting import eventually

PASSWORD = "a password of 1 test"


@contextmanager
def operated(folder: Path, configuration: str, *more: str) -> Iterator[str]:
    """Run `start.sh` with a configuration of ops/redis/ on the data in `folder`; `kill -9` at last.

    Yields the URL for the user that it makes.
    """
    programs = folder / "bin"
    if not programs.exists():
        programs.mkdir()
        (programs / "valkey-server").symlink_to(binary())
    port = free_port()
    files = root() / "ops" / "redis"
    process = subprocess.Popen(
        [
            *("sh", files / "start.sh", files / configuration),
            *("--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
            *("--aclfile", folder / "users.acl", "--maxmemory", "256mb"),
            *more,
        ],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "ACL_FILE": str(folder / "users.acl"),
            "ACL_USER": "desk",
            "ACL_PASSWORD": PASSWORD,
            "ACL_KEYS": "~desk:* ~{desk:* &desk:*",
        },
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://desk:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/0"
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with Redis.from_url(url) as client:
                    client.exists("desk:a:b:v1")
                break
            except RedisError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.wait()


async def logged(folder: Path, text: bytes, count: int) -> None:
    """Wait until the log has it: with `everysec` a write may wait for the sync before it."""
    log = (folder / "appendonlydir").glob
    await eventually(lambda: sum(f.read_bytes().count(text) for f in log("*.incr.aof")) >= count)


@pytest.fixture
def cache_url(open_folder: Path) -> Iterator[str]:
    """The server of the cache."""
    with operated(open_folder, "redis.conf") as url:
        yield url


@pytest.mark.standard("DL-RD-03")
async def test_the_user_may_do_what_the_layer_does_and_no_more(
    cache_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await works(settings_of(cache_url, service="desk"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", cache_url)
    report = await checklist.run(checks.redis_checks())
    assert report.ok, [result.finding for result in report.results]
    async with Store.open(settings_of(cache_url, service="desk")) as store:
        for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "SHUTDOWN"):
            with pytest.raises(NoPermissionError):
                await store.client.execute_command(*command.split())
        with pytest.raises(NoPermissionError):
            await store.client.set("others:a:b:v1", "x", ex=1)


@pytest.mark.standard("DL-RD-03")
def test_nobody_else_may_do_anything(cache_url: str) -> None:
    _, _, place = cache_url.rpartition("@")
    for user in ("", "default:@", f"default:{PASSWORD.replace(' ', '%20')}@", "desk:wrong@"):
        with Redis.from_url(f"redis://{user}{place}") as client, pytest.raises(RedisError):
            client.ping()


@pytest.mark.standard("DL-RD-06")
def test_the_log_can_be_replayed(cache_url: str, open_folder: Path) -> None:
    """Redis, unlike Valkey, replays it with the rights of `default`, whom nobody can sign in as."""
    [default, _] = (open_folder / "users.acl").read_text().splitlines()
    assert default.split() == ["user", "default", "off", "resetpass", "~*", "&*", "+@all"]


@pytest.mark.standard("DL-RD-06")
async def test_the_queue_keeps_its_jobs_through_kill_9(open_folder: Path) -> None:
    chosen = QueueSettings(_env_file=None)
    with operated(open_folder, "queue.conf") as url:
        async with Queue.open(settings_of(url, service="desk", queue_url=url), chosen) as queue:
            await queue.send(write, "nowhere", "job")
            await queue.send(write.after(3600), "nowhere", "later")
            before = await queue.state()
            await logged(open_folder, b"tests.write", 2)
    with operated(open_folder, "queue.conf") as url:
        async with Queue.open(settings_of(url, service="desk", queue_url=url), chosen) as queue:
            after = await queue.state()
    assert (before.jobs, before.delayed) == (after.jobs, after.delayed) == (1, 1)


@pytest.mark.standard("DL-RD-06")
async def test_the_cache_keeps_its_values_where_it_shall(open_folder: Path) -> None:
    numbers = UserData("number", int, TimeToLive(timedelta(hours=1)), local=None)

    async def load(number: int) -> int:
        return number

    for number in (1, 2):
        with operated(open_folder, "redis.conf", "--appendonly", "yes") as url:
            settings = settings_of(url, service="desk")
            async with Store.open(settings) as store, Cache.open(store) as cache:
                assert await cache.get(numbers, "one", lambda: load(number)) == 1  # noqa: B023
                # The whole name: the lease of the one who loads has it within braces.
                await logged(open_folder, b"\ndesk:number:one:v1\r\n", 1)
