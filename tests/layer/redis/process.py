"""Other processes of the same service, for what only several processes can show.

They are forked from one that has imported everything already. What they load and see they write, a
line each, into files of a folder.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from my_project.data_layer.database import Database
from my_project.data_layer.redis import Cache, RedisSettings, Store, TimeToLive, UserData
from my_project.data_layer.redis.outbox import invalidation
from my_project.data_layer.sagas import SagaSettings, Topic, calling, outbox, publish, run_relay
from tests.data_layer.fixtures import settings_of
from tests.layer.redis.waiting import eventually

READERS = 70
LONG = TimeToLive(timedelta(minutes=5))
NUMBER = UserData("number", int, LONG, local=LONG, loading=LONG)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, __name__.replace("process", "tasks")])


def start(
    settings: RedisSettings, work: Callable[..., Coroutine[Any, Any, None]], *args: Any, **more: str
) -> BaseProcess:
    """Run `work` in another process, which finds Redis by its environment."""
    variables = {
        "REDIS_URL": settings.url.get_secret_value(),
        "REDIS_QUEUE_URL": (settings.queue_url or settings.url).get_secret_value(),
        "REDIS_SERVICE": settings.service,
        "REDIS_LOCAL_TTL": "300",
        **more,
    }
    process = CONTEXT.Process(target=_run, args=(variables, work, *args))
    process.start()
    return process


def _run(
    variables: dict[str, str], work: Callable[..., Coroutine[Any, Any, None]], *args: Any
) -> None:
    os.environ.update(variables)
    asyncio.run(work(*args))


async def readers(folder: Path) -> None:
    """Ask for one value, many at once, as soon as the file `go` is there."""

    async def load() -> int:
        (folder / f"loaded-{os.getpid()}").touch()
        await asyncio.sleep(0.3)
        return 42

    async with Store.open() as store, Cache.open(store) as cache:
        (folder / f"ready-{os.getpid()}").touch()
        await eventually((folder / "go").exists)
        found = await asyncio.gather(*(cache.get(NUMBER, "cold", load) for _ in range(READERS)))
        partial = folder / f"partial-{os.getpid()}"
        partial.write_text(" ".join(map(str, found)))
        partial.rename(folder / f"found-{os.getpid()}")


async def watcher(folder: Path) -> None:
    """Ask for a value all the time, and write down when another one comes."""
    source = folder / "source"

    async def load() -> int:
        return int(source.read_text())

    async with Store.open() as store, Cache.open(store) as cache:
        await eventually(lambda: cache.is_hearing)
        seen = await cache.get(NUMBER, "watched", load)
        (folder / f"seen-{seen}").touch()
        while not (folder / "end").exists():
            value = await cache.get(NUMBER, "watched", load)
            if value != seen:
                seen = value
                # One clock for all processes of a machine.
                partial = folder / f"seen-{seen}.partial"
                partial.write_text(str(time.monotonic()))
                partial.rename(folder / f"seen-{seen}")
            await asyncio.sleep(0.001)


async def publishing(url: str) -> None:
    """Change a number and say so, and die before the effects that come after the commit."""
    async with (
        Database.open(settings_of(make_url(url))) as database,
        Store.open() as store,
        Cache.open(store) as cache,
        database.transaction() as session,
    ):
        session.after_commit(_die)
        cache.invalidate(session, NUMBER, "surely")
        await publish(session, changed(), key="surely", payload=None)


async def relaying(url: str, dies: bool) -> None:
    """Relay invalidations; die, if told, instead of the first one."""
    topic = changed()
    if dies:
        del outbox.TOPICS[topic.name]
        replace(topic, to=calling(lambda _: _die()))
    async with Database.open(settings_of(make_url(url))) as database:
        await run_relay(database, asyncio.Event(), SagaSettings(_env_file=None, poll=0.1))


def changed() -> Topic:
    """The topic of the numbers that changed."""
    return outbox.TOPICS.get("tests.changed") or Topic("tests.changed", invalidation(NUMBER))


async def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
