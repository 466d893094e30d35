"""Live messages: in order, without gaps over a restart of Redis, and without leaks."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from itertools import count

import pytest
from pydantic import BaseModel

from my_project.data_layer.redis import NotJson, RedisUnavailable, Store, listening
from my_project.data_layer.redis.live import Live, Subscription
from my_project.data_layer.redis.settings import LiveSettings
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer, own_server
from tests.layer.redis.waiting import eventually

SETTINGS = LiveSettings(_env_file=None, buffer=20)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine holds up for a moment is no lost connection."""
    monkeypatch.setattr(listening, "HEARTBEAT", 20.0)


@pytest.fixture
async def live(store: Store) -> AsyncIterator[Live]:
    async with Live.open(store, SETTINGS) as live:
        yield live


async def take(subscription: Subscription, number: int) -> list[str]:
    """The data of the next events."""
    async with asyncio.timeout(PATIENCE):
        return [(await anext(subscription)).data for _ in range(number)]


async def subscribers(live: Live) -> int:
    """Subscriptions that the server knows of, to channels of this test."""
    key = live.key("prices")
    ((_, subscribed),) = await live.store.client.pubsub_numsub(key)
    return int(subscribed)


@pytest.mark.standard("DL-RD-25")
async def test_every_client_gets_every_event_over_one_subscription(live: Live) -> None:
    async with live.subscribe("prices") as one, live.subscribe("prices") as two:
        assert live.clients == 2
        assert await subscribers(live) == 1
        for number in range(10):
            await live.publish("prices", {"number": number})
        wanted = [f'{{"number":{number}}}' for number in range(10)]
        assert await take(one, 10) == await take(two, 10) == wanted
    assert live.clients == 0


async def test_processes_hear_each_other(store: Store, live: Live) -> None:
    async with Live.open(store, SETTINGS) as other, live.subscribe("prices") as subscription:
        await other.publish("prices", 1)
        await other.publish("another", 2)
        await live.publish("prices", 3)
        assert await take(subscription, 2) == ["1", "3"]


async def test_a_listener_leaves_no_task_behind(store: Store) -> None:
    class Hearing(listening.Listener):
        async def _subscribed(self, channel: str) -> None:
            self.hears = True

    before = asyncio.all_tasks()
    listener = Hearing(store)
    listener.hears = False
    listener._want("prices")
    async with listener.listening():
        await eventually(lambda: listener.hears)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()


async def test_a_message_is_json_or_is_refused(live: Live) -> None:
    class Price(BaseModel):
        symbol: str
        price: Decimal

    async with live.subscribe("prices") as subscription:
        for wrong in ({"x": math.nan}, [math.inf], object()):
            with pytest.raises(NotJson, match="The message for prices"):
                await live.publish("prices", wrong)
        await live.publish("prices", Price(symbol="AAPL", price=Decimal("1.50")))
        assert await take(subscription, 1) == ['{"symbol":"AAPL","price":"1.50"}']


@pytest.mark.standard("DL-RD-25")
async def test_who_comes_back_resumes_where_it_left(live: Live) -> None:
    first = await live.publish("prices", 1)
    for number in range(2, 200):
        await live.publish("prices", number)
    async with live.subscribe("prices", after=first) as subscription:
        await live.publish("prices", 200)
        assert await take(subscription, 199) == [str(number) for number in range(2, 201)]
        assert not subscription.missed


@pytest.mark.parametrize("others", [True, False])
async def test_a_channel_that_is_left_and_wanted_again_is_heard_from_then_on(
    live: Live, others: bool
) -> None:
    async with AsyncExitStack() as stack:
        if others:
            await stack.enter_async_context(live.subscribe("others"))
        for number in range(60):
            async with live.subscribe("prices") as subscription:
                await live.publish("prices", number)
                assert await take(subscription, 1) == [str(number)]
            for _ in range(number % 5):  # until somewhere on the way to unsubscribing
                await asyncio.sleep(0)


@pytest.mark.parametrize(
    "after", ["1-1", "99999999999999-0", "9" * 20 + "-0", "nonsense", "", "1-1\r\nid: 2"]
)
async def test_who_comes_back_too_late_is_told(live: Live, after: str) -> None:
    await live.publish("prices", 1)
    async with live.subscribe("prices", after=after) as subscription:
        assert subscription.missed == bool(after)
        await live.publish("prices", 2)
        async with asyncio.timeout(PATIENCE):
            while (await anext(subscription)).data != "2":
                pass


async def test_nothing_is_lost_or_doubled_between_replay_and_live(live: Live) -> None:
    first = await live.publish("prices", 0)

    async def publish() -> None:
        for number in range(1, 301):
            await live.publish("prices", number)

    async def follow() -> list[str]:
        async with live.subscribe("prices", after=first) as subscription:
            return await take(subscription, 300)

    publishing = asyncio.create_task(publish())
    found = [follow()]
    for _ in range(5):
        await asyncio.sleep(0.01)
        found.append(follow())
    for numbers in await asyncio.gather(*found):
        assert numbers == [str(number) for number in range(1, 301)]
    await publishing


async def test_a_slow_client_is_let_go_and_the_others_are_not(live: Live) -> None:
    async with live.subscribe("prices") as slow, live.subscribe("prices") as quick:
        seen = []
        for number in range(50):
            await live.publish("prices", number)
            seen += await take(quick, 1)
        got = [event async for event in slow]
        assert len(seen) == 50
        assert [event.data for event in got] == [str(number) for number in range(20)]
    async with live.subscribe("prices", after=got[-1].id) as again:
        assert await take(again, 30) == [str(number) for number in range(20, 50)]


async def test_what_is_kept_is_bounded_and_expires(store: Store) -> None:
    small = LiveSettings(_env_file=None, kept=100, ttl=3600)
    async with Live.open(store, small) as live:
        for number in range(500):
            await live.publish("prices", number)
        key = live.key("prices")
        assert await store.client.xlen(key) <= 200
        assert 0 < await store.client.ttl(key) <= 3600


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_restart_of_redis_is_bridged(how: str) -> None:
    with own_server({"appendonly": "yes", "appendfsync": "always"}) as server:
        async with (
            Store.open(settings_of(server.url, breaker_pause=0.05)) as store,
            Live.open(store, SETTINGS) as live,
            live.subscribe("prices") as subscription,
        ):
            await live.publish("prices", 1)
            assert await take(subscription, 1) == ["1"]
            if how == "kill":
                server.kill()
                server.start()
            else:
                server.restart()
            published = 1
            async with asyncio.timeout(PATIENCE):
                while published < 3:
                    try:
                        await live.publish("prices", published + 1)
                        published += 1
                    except RedisUnavailable:
                        await asyncio.sleep(0.05)
            # The second was published before this process listened again.
            assert await take(subscription, 2) == ["2", "3"]
            assert await subscribers(live) == 1


async def test_a_server_that_hangs_is_noticed_and_bridged(
    own_redis: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HEARTBEAT", 1.0)
    quick = settings_of(own_redis.url, timeout=1, connect_timeout=1, breaker_pause=0.05)
    async with (
        Store.open(quick) as store,
        Live.open(store, SETTINGS) as live,
        live.subscribe("prices") as subscription,
    ):
        own_redis.pause()
        try:
            with pytest.raises(RedisUnavailable):
                await live.publish("prices", 0)
            await asyncio.sleep(3)  # longer than the silence that counts as a lost connection
            with pytest.raises(RedisUnavailable):
                async with live.subscribe("others"):
                    pass
        finally:
            own_redis.resume()
        assert live.clients == 1
        async with asyncio.timeout(PATIENCE):
            for number in count():
                try:
                    await live.publish("prices", f"after {number}")
                    break
                except RedisUnavailable:
                    await asyncio.sleep(0.05)
            # What was sent to the hanging server may arrive after all.
            while "after" not in (await anext(subscription)).data:
                pass


async def test_nobody_can_listen_to_a_redis_that_is_down(own_redis: OwnServer) -> None:
    own_redis.kill()
    settings = settings_of(own_redis.url, connect_timeout=0.1, timeout=0.2)
    async with Store.open(settings) as store, Live.open(store, SETTINGS) as live:
        with pytest.raises(RedisUnavailable, match="nothing to listen to"):
            async with live.subscribe("prices"):
                pass
        assert live.clients == 0


@pytest.mark.standard("DL-RD-25")
async def test_two_hundred_clients_that_vanish_leave_nothing(live: Live) -> None:
    before = len(asyncio.all_tasks())
    subscribed = set[int]()

    async def vanish(number: int) -> None:
        async with live.subscribe("prices") as subscription:
            subscribed.add(number)
            async for _ in subscription:
                pass

    clients = [asyncio.create_task(vanish(number)) for number in range(200)]
    async with asyncio.timeout(PATIENCE):
        while len(subscribed) < 200:
            await asyncio.sleep(0.01)
    await live.publish("prices", "hello")
    assert await subscribers(live) == 1
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    assert live.clients == 0
    async with asyncio.timeout(PATIENCE):
        while await subscribers(live):
            await asyncio.sleep(0.01)
    await eventually(lambda: len(asyncio.all_tasks()) == before)
