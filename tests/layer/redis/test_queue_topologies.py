"""Queue, limits and live messages on a cluster and behind sentinels."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from my_project.data_layer.redis import RedisSettings, Store
from my_project.data_layer.redis.limits import Limit, Limiter
from my_project.data_layer.redis.live import Live
from my_project.data_layer.redis.queue import (
    Job,
    Queue,
    QueueSettings,
    QueueUnreachable,
    run_worker,
)
from my_project.data_layer.redis.settings import LimitSettings
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer
from tests.layer.redis.tasks import fail, write
from tests.layer.redis.topologies import Cluster, Watched
from tests.layer.redis.waiting import eventually


def with_queue(settings: RedisSettings) -> RedisSettings:
    """The queue on the same servers, which these tests let be."""
    return settings.model_copy(
        update={"queue_url": settings.url, "queue_password": settings.password}
    )


def done(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if "done" in path.read_text()}


async def works(settings: RedisSettings, folder: Path) -> None:
    """Do a job, delay one, bury one, count, publish."""
    chosen = QueueSettings(_env_file=None, claim_after=3.0)
    # What is asked is whether it works there, not how soon.
    settings = settings.model_copy(update={"timeout": 60.0, "connect_timeout": 60.0})
    both = with_queue(settings)
    stop = asyncio.Event()
    async with (
        Store.open(settings) as store,
        Live.open(store) as live,
        live.subscribe("prices") as subscription,
        Queue.open(both, chosen) as queue,
        Queue.open(both, chosen) as own,
    ):
        working = asyncio.create_task(run_worker(own, stop))
        jobs: list[Job[Any]] = [
            await queue.send(write.once("same"), str(folder), "job") for _ in range(3)
        ]
        jobs.append(await queue.send(write.after(0.1), str(folder), "later"))
        jobs.append(await queue.send(fail, "no luck"))
        for job in jobs:
            await job.wait_result(timeout=PATIENCE, check_interval=0.05)
        assert done(folder) == {"job", "later"}
        (letter,) = await queue.dead_letters()
        assert await queue.retry(letter.id)
        stop.set()
        await working
        limiter = Limiter(store, LimitSettings(_env_file=None))
        limit = Limit("everywhere", 3, timedelta(hours=1))
        for client in ("a", "b", "c", "d", "e"):  # in every part of a cluster
            decisions = [await limiter.take(limit, client) for _ in range(5)]
            assert [one.allowed for one in decisions] == [True] * 3 + [False] * 2
        first = await live.publish("prices", 1)
        await live.publish("prices", 2)
        async with asyncio.timeout(PATIENCE):
            assert [(await anext(subscription)).data for _ in range(2)] == ["1", "2"]
            async with live.subscribe("prices", after=first) as again:
                assert (await anext(again)).data == "2"


async def test_all_of_it_works_on_a_cluster(three: Cluster, tmp_path: Path) -> None:
    await works(three.settings, tmp_path)


async def test_all_of_it_works_behind_sentinels(guarded: Watched, tmp_path: Path) -> None:
    await works(guarded.settings, tmp_path)


async def sends_many(settings: RedisSettings) -> None:
    """Send, and ask for results of, more jobs at once than there are connections."""
    few = with_queue(settings.model_copy(update={"pool_size": 2, "timeout": 60.0}))
    async with Queue.open(few, QueueSettings(_env_file=None, name="many")) as queue:
        jobs = await asyncio.gather(*(queue.send(write, "nowhere", "job") for _ in range(100)))
        assert (await queue.state()).jobs == 100
        assert not any(await asyncio.gather(*(job.is_ready() for job in jobs)))


async def test_many_jobs_at_once_wait_for_a_connection_to_a_cluster(three: Cluster) -> None:
    await sends_many(three.settings)


async def test_many_jobs_at_once_wait_for_a_connection_to_the_master(guarded: Watched) -> None:
    await sends_many(guarded.settings)


async def test_all_of_it_is_allowed_to_the_user_of_compose(
    own_redis: OwnServer, tmp_path: Path
) -> None:
    keys = ("~desk:*", "~{desk:*", "&desk:*")
    with Redis.from_url(own_redis.url) as client:
        rules = ("+@all", "-@dangerous", "-@admin", "+info")
        client.execute_command("ACL", "SETUSER", "desk", "on", ">secret", *keys, *rules)
    url = f"redis://desk:secret@127.0.0.1:{own_redis.port}/0"
    await works(settings_of(url, service="desk"), tmp_path)


async def test_too_few_replicas_are_said(guarded: Watched, tmp_path: Path) -> None:
    chosen = QueueSettings(_env_file=None, replicas=5, timeout=2, name="replicas")
    async with Queue.open(with_queue(guarded.settings), chosen) as queue:
        with pytest.raises(QueueUnreachable, match=r"[0-2] of 5 replicas"):
            await queue.send(write, str(tmp_path), "one")


@pytest.mark.standard("DL-RD-22")
async def test_a_failover_loses_no_job_that_a_replica_has(guarded: Watched, tmp_path: Path) -> None:
    chosen = QueueSettings(_env_file=None, replicas=1, timeout=2, claim_after=3.0, name="failover")
    settings = with_queue(guarded.settings)
    sent: set[str] = set()
    stop = asyncio.Event()
    async with Queue.open(settings, chosen) as queue, Queue.open(settings, chosen) as own:
        working = asyncio.create_task(run_worker(own, stop))

        async def send(number: int) -> None:
            with suppress(QueueUnreachable):
                await queue.send(write.once(str(number)), str(tmp_path), str(number))
                sent.add(str(number))

        for number in range(100):
            await send(number)
        killed = guarded.master
        await asyncio.to_thread(killed.kill)
        async with asyncio.timeout(PATIENCE):
            for number in range(100, 103):
                while str(number) not in sent:
                    await send(number)
                    await asyncio.sleep(0.05)
        await eventually(lambda: guarded.master is not killed)
        await eventually(lambda: done(tmp_path) >= sent)
        stop.set()
        await working
