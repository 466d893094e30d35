"""Redis as this project is set up: the cache, limits, the queue."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, update

from tests.data_layer import layer
from tests.data_layer.conftest import Ask
from tests.data_layer.things import Thing

pytestmark = pytest.mark.usefixtures("redis_in_environment")


@dataclass(frozen=True)
class Price:
    """What is cached."""

    name: str
    price: Decimal


PRICES = layer.redis.UserData(
    "layer-test-price", Price, layer.redis.TimeToLive(timedelta(minutes=1))
)
LIMIT = layer.redis_limits.Limit("layer-test", quota=2, window=timedelta(minutes=1))


@layer.redis_queue.task("layer-test.double")
async def double(number: int) -> int:
    """Do some work."""
    return 2 * number


@pytest.mark.standard("DL-RD-10")
@pytest.mark.standard("DL-RD-11")
async def test_what_is_stored_has_a_key_of_this_service_and_an_end(
    redis_settings: layer.redis.RedisSettings,
) -> None:
    async with layer.redis.Store.open() as store, layer.redis.Cache.open(store) as cache:

        async def load() -> Price:
            return Price("bolt", Decimal("1.50"))

        assert await cache.get(PRICES, "bolt", load) == await load()
        key = store.key("layer-test-price", "bolt")
        assert str(key) == f"{redis_settings.service}:layer-test-price:bolt:v1"
        assert 0 < await store.run(lambda client: client.ttl(str(key))) <= 60


@pytest.mark.standard("DL-RD-12")
async def test_of_many_who_ask_at_once_one_loads() -> None:
    loads = 0

    async def load() -> Price:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return Price("bolt", Decimal(1))

    async with layer.redis.Store.open() as store, layer.redis.Cache.open(store) as cache:
        asked = [cache.get(PRICES, "bolt", load) for _ in range(20)]
        assert set(await asyncio.gather(*asked)) == {Price("bolt", Decimal(1))}
    assert loads == 1


@pytest.mark.standard("DL-RD-13")
async def test_a_cached_row_goes_once_its_change_is_committed(
    things: layer.database.Database,
) -> None:
    loads = 0

    async def load() -> Price:
        nonlocal loads
        loads += 1
        async with things.read_only() as session:
            row = await session.execute(select(Thing.name, Thing.price).filter_by(name="bolt"))
        return Price(*row.one())

    async with things.transaction() as session:
        session.add(Thing(name="bolt", price=Decimal(1)))
    async with layer.redis.Store.open() as store, layer.redis.Cache.open(store) as cache:
        for _ in range(2):
            assert (await cache.get(PRICES, "bolt", load)).price == 1
        assert loads == 1
        async with things.transaction() as session:
            cache.invalidate(session, PRICES, "bolt")
            await session.execute(update(Thing).values(price=Decimal(2)))
            assert (await cache.get(PRICES, "bolt", load)).price == 1
            assert loads == 1
        assert (await cache.get(PRICES, "bolt", load)).price == 2
    async with layer.redis.Store.open() as store, layer.redis.Cache.open(store) as other:
        assert (await other.get(PRICES, "bolt", load)).price == 2
    assert loads == 2


@pytest.mark.standard("DL-RD-14")
async def test_without_redis_the_loader_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    async def load() -> Price:
        return Price("bolt", Decimal(1))

    async with layer.redis.Store.open() as store, layer.redis.Cache.open(store) as cache:
        assert await cache.get(PRICES, "bolt", load) == await load()
        with pytest.raises(layer.redis.RedisUnavailable):
            await store.run(lambda client: client.ping())


@pytest.mark.standard("DL-RD-24")
async def test_a_limit_lets_so_many_through(redis_settings: layer.redis.RedisSettings) -> None:
    async with layer.redis.Store.open() as store:
        limiter = layer.redis_limits.Limiter(store)
        decisions = [await limiter.take(LIMIT, "ada") for _ in range(3)]
        assert [decision.allowed for decision in decisions] == [True, True, False]
        assert all(decision.counted for decision in decisions)
        assert (await limiter.take(LIMIT, "bob")).allowed


@pytest.mark.standard("DL-RD-22")
@pytest.mark.standard("DL-RD-23")
async def test_a_worker_does_what_was_sent_once() -> None:
    stop = asyncio.Event()
    async with layer.redis_queue.Queue.open() as queue, layer.redis_queue.Queue.open() as own:
        jobs = [await queue.send(double.once("same key"), 21) for _ in range(2)]
        assert (await queue.state()).jobs == 1
        working = asyncio.create_task(layer.redis_queue.run_worker(own, stop))
        try:
            results = [await job.wait_result(timeout=60) for job in jobs]
        finally:
            stop.set()
            await working
        assert [result.return_value for result in results] == [42, 42]
        state = await queue.state()
        assert (state.jobs, state.dead) == (0, 0)


async def test_the_server_and_its_keys_keep_to_the_standard(ask: Ask) -> None:
    async with layer.redis.Store.open() as store:
        await layer.redis_limits.Limiter(store).take(LIMIT, "ada")
        # The other checks of DL-RD judge permanent servers.
        await ask("DL-RD-01", "DL-RD-20")
