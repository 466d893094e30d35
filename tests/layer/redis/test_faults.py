"""Redis killed, hanging, full: the loader answers, and everything heals by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from my_project.data_layer.redis import (
    Cache,
    RedisUnavailable,
    Store,
    TimeToLive,
    UserData,
)
from my_project.data_layer.redis.limits import Limit, Limiter
from my_project.data_layer.redis.settings import LimitSettings
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer, own_server
from tests.layer.redis.waiting import Transaction, eventually

# No first layer: every read wants Redis.
NUMBER = UserData("number", int, TimeToLive(timedelta(hours=1)), local=None)
NEAR = UserData("near", int, TimeToLive(timedelta(hours=1)))
TIMEOUT = 1.0
# What anything may take beyond that on a machine that is busy.
BUSY = 60.0
LONG = "x" * 50_000


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[Cache]:
    chosen = {"breaker_failures": 3, "breaker_pause": 0.3, **settings}
    async with Store.open(settings_of(url, **chosen)) as store, Cache.open(store) as cache:
        yield cache


class Source:
    """What would be the database."""

    def __init__(self) -> None:
        self.value = 0
        self.loads = 0

    async def load(self) -> int:
        self.loads += 1
        return self.value


@pytest.mark.standard("DL-RD-14")
async def test_kill_9_and_a_restart_in_the_middle_of_traffic(own_redis: OwnServer) -> None:
    source = Source()
    ended = asyncio.Event()
    reads = 0

    async def traffic(cache: Cache, number: int) -> None:
        nonlocal reads
        while not ended.is_set():
            assert await cache.get(NUMBER, str(number), source.load) == 0
            reads += 1
            await asyncio.sleep(0.002)

    async with opened(own_redis.url) as cache:
        running = [asyncio.create_task(traffic(cache, number)) for number in range(10)]
        await eventually(lambda: cache.store.counts["hits"] > 20)
        await asyncio.to_thread(own_redis.kill)
        await eventually(lambda: not cache.store.is_available)
        loads, before = source.loads, reads
        await eventually(lambda: reads > before + 50)
        assert source.loads > loads, "the loader answers"
        await asyncio.to_thread(own_redis.start)
        await eventually(lambda: cache.store.is_available and cache.is_hearing)
        hits = cache.store.counts["hits"]
        await eventually(lambda: cache.store.counts["hits"] > hits + 20)
        ended.set()
        await asyncio.gather(*running)


@pytest.mark.standard("DL-RD-14")
async def test_a_server_that_hangs_slows_no_read_beyond_the_bound(
    own_redis: OwnServer,
) -> None:
    source = Source()
    async with opened(own_redis.url, timeout=TIMEOUT, breaker_pause=600) as cache:
        await cache.get(NUMBER, "n", source.load)
        own_redis.pause()
        for _ in range(20):
            async with asyncio.timeout(TIMEOUT + BUSY):
                assert await cache.get(NUMBER, "n", source.load) == 0
        own_redis.resume()
        # Three are late by the timeout; then the breaker is open, and nobody waits at all.
        assert cache.store.counts["failures"] == 3
        assert cache.store.counts["held_back"] >= 17


@pytest.mark.standard("DL-RD-14")
async def test_an_answer_that_comes_too_late_is_not_taken_for_another(
    own_redis: OwnServer,
) -> None:
    with Redis.from_url(own_redis.url) as client:
        client.mset({str(number): number for number in range(100)})
    settings = settings_of(own_redis.url, timeout=0.3, pool_size=5, breaker_failures=1000)
    answers = late = 0
    async with Store.open(settings) as store:

        def get(key: str) -> Callable[[Any], Awaitable[bytes | None]]:
            return lambda redis: redis.get(key)

        async def ask(first: int) -> None:
            nonlocal answers, late
            while True:
                for key in map(str, (*range(first, 100), *range(first))):
                    try:
                        assert await store.run(get(key)) == key.encode()
                        answers += 1
                    except RedisUnavailable:
                        late += 1

        asking = [asyncio.create_task(ask(5 * number)) for number in range(20)]
        for _ in range(5):
            before = answers
            await eventually(lambda: answers > before + 100)  # noqa: B023
            own_redis.pause()
            await asyncio.sleep(0.5)
            asking.pop(0).cancel()  # whoever asks may give up as well
            own_redis.resume()
        assert late
        for task in asking:
            assert not task.done()
            task.cancel()
        await asyncio.wait(asking)


@pytest.mark.standard("DL-RD-14")
async def test_many_readers_of_a_server_that_hangs_wait_once(own_redis: OwnServer) -> None:
    source = Source()
    async with opened(own_redis.url, timeout=TIMEOUT, pool_size=1, breaker_pause=600) as cache:
        own_redis.pause()
        reads = (cache.get(NUMBER, str(number), source.load) for number in range(200))
        # Also those who wait for the one place in the pool: by turns it would be 200 s.
        async with asyncio.timeout(TIMEOUT + BUSY):
            assert await asyncio.gather(*reads) == [0] * 200
        own_redis.resume()


@pytest.mark.standard("DL-RD-14")
async def test_a_hanging_server_ends_the_trust_in_the_first_layer(
    own_redis: OwnServer,
) -> None:
    source = Source()
    async with opened(own_redis.url, timeout=TIMEOUT) as cache:
        await eventually(lambda: cache.is_hearing)
        await cache.get(NEAR, "n", source.load)
        assert cache.entries == 1
        own_redis.pause()
        await eventually(lambda: not cache.is_hearing)
        assert cache.entries == 0
        own_redis.resume()
        await eventually(lambda: cache.is_hearing)


@pytest.mark.standard("DL-RD-14")
async def test_a_full_server_that_evicts_nothing_drops_writes_and_answers() -> None:
    full = {"maxmemory": "3mb", "maxmemory-policy": "noeviction"}
    with own_server(full) as server:
        async with opened(server.url) as cache:
            text = UserData("text", str, TimeToLive(timedelta(hours=1)), local=None)

            async def load() -> str:
                return LONG

            for number in range(100):
                assert await cache.get(text, str(number), load) == LONG
            counts = cache.store.counts
            assert counts["writes_dropped"] + counts["out_of_memory"] > 10
            assert cache.store.is_available, "a full server is not a broken one"
            assert await cache.get(text, "0", load) == LONG
            assert counts["hits"] >= 1, "what was stored is still read"


@pytest.mark.standard("DL-RD-02")
async def test_a_full_server_that_evicts_holds_its_bound() -> None:
    full = {"maxmemory": "4mb", "maxmemory-policy": "allkeys-lru"}
    with own_server(full) as server:
        async with opened(server.url) as cache:
            text = UserData("text", str, TimeToLive(timedelta(hours=1)), local=None)

            async def load() -> str:
                return LONG

            for number in range(200):
                await cache.get(text, str(number), load)
            info = await cache.store.run(lambda redis: redis.info())
            assert cache.store.counts["writes_dropped"] == 0
            assert info["evicted_keys"] > 50
            assert info["used_memory"] <= info["maxmemory"]


@pytest.mark.standard("DL-RD-13")
async def test_an_invalidation_waits_until_redis_is_back() -> None:
    with own_server({"appendonly": "yes", "appendfsync": "always"}) as server:
        source = Source()
        async with opened(server.url) as writer, opened(server.url) as reader:
            assert await writer.get(NUMBER, "n", source.load) == 0
            await asyncio.to_thread(server.kill)
            source.value = 1
            async with Transaction() as session:
                writer.invalidate(session, NUMBER, "n")
            assert writer.pending == 1
            assert await writer.get(NUMBER, "n", source.load) == 1
            await asyncio.to_thread(server.start)
            await eventually(lambda: writer.pending == 0)
            # The old value was there again, read from the append-only file.
            await eventually(lambda: reader.store.is_available and reader.is_hearing)
            assert await reader.get(NUMBER, "n", source.load) == 1


async def test_silent_reconnection_is_noticed(own_redis: OwnServer) -> None:
    """redis-py may connect and subscribe anew by itself; what was missed makes values unsure."""
    source = Source()
    async with opened(own_redis.url) as cache:
        await eventually(lambda: cache.is_hearing)
        await cache.get(NEAR, "n", source.load)
        async with Store.open(settings_of(own_redis.url)) as other:
            await other.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: cache.entries == 0)
        await eventually(lambda: cache.is_hearing)


REFUSALS = {
    "a read-only replica": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "no replica": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
    "no memory": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "no rights": ("ACL SETUSER default -@write", "ACL SETUSER default +@write"),
}


@pytest.mark.standard("DL-RD-14")
@pytest.mark.parametrize(("refuse", "heal"), REFUSALS.values(), ids=REFUSALS)
async def test_a_server_that_refuses_to_write_is_no_error_of_anybody(
    own_redis: OwnServer, refuse: str, heal: str
) -> None:
    source = Source()
    settings = settings_of(own_redis.url, breaker_pause=0.1)
    limit = Limit("refused", 1000, timedelta(hours=1))
    async with opened(own_redis.url) as cache, Store.open(settings) as other:
        limits = Limiter(other, LimitSettings(_env_file=None))
        assert (await limits.take(limit, "one")).counted
        await cache.get(NUMBER, "kept", source.load)
        with Redis.from_url(own_redis.url) as client:
            client.execute_command(*refuse.split())
            assert await cache.get(NUMBER, "kept", source.load) == 0
            assert source.loads == 1, "what is there is read"
            for number in range(10):
                assert await cache.get(NUMBER, str(number), source.load) == 0
                assert not (await limits.take(limit, "one")).counted
            client.execute_command(*heal.split())
        async with asyncio.timeout(PATIENCE):
            while not (await limits.take(limit, "one")).counted:
                await asyncio.sleep(0.05)
            before = -1
            while before < source.loads:  # until one is kept again
                before = source.loads
                await cache.get(NUMBER, "after", source.load)
                await asyncio.sleep(0.05)


async def test_a_script_without_an_end_degrades_too(own_redis: OwnServer) -> None:
    source = Source()
    patient = settings_of(own_redis.url, timeout=60)
    async with opened(own_redis.url, breaker_failures=100) as cache, Store.open(patient) as other:
        await cache.get(NUMBER, "n", source.load)
        with Redis.from_url(own_redis.url) as client:
            client.config_set("busy-reply-threshold", 50)
            script = other.client.eval("while true do end", 0)
            endless: asyncio.Future[Any] = asyncio.ensure_future(script)
            while not cache.store.counts["failures"]:
                assert await cache.get(NUMBER, "n", source.load) == 0
            with pytest.raises(RedisUnavailable, match="BUSY"):
                await cache.store.run(lambda redis: redis.get("n"))
            client.script_kill()
            with pytest.raises(ResponseError):
                await endless
        loads = source.loads
        await cache.get(NUMBER, "n", source.load)
        assert source.loads == loads


async def test_a_wrong_password_degrades_too(own_redis: OwnServer) -> None:
    source = Source()
    url = own_redis.url.replace("//:", "//:not")
    async with opened(url) as cache:
        assert await cache.get(NUMBER, "n", source.load) == 0
        with pytest.raises(RedisUnavailable, match="REDIS_PASSWORD"):
            await cache.store.run(lambda redis: redis.ping())
