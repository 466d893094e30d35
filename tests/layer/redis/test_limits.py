"""Rate limits: exact whatever the clocks say, and bounded in what a broken Redis costs."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from my_project.data_layer.redis import RedisSettings, Store
from my_project.data_layer.redis.limits import Decision, Limit, Limiter
from my_project.data_layer.redis.settings import LimitSettings
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer

HOUR = timedelta(hours=1)


@pytest.fixture
async def patient(redis_settings: RedisSettings) -> AsyncIterator[Store]:
    """A store for more at once than it is made for."""
    slow = redis_settings.model_copy(update={"timeout": 60.0, "connect_timeout": 60.0})
    async with Store.open(slow) as store:
        yield store


def limiter(store: Store, when_down: str = "open") -> Limiter:
    return Limiter(store, LimitSettings.model_validate({"_env_file": None, "when_down": when_down}))


@pytest.mark.standard("DL-RD-24")
async def test_ten_thousand_clients_never_exceed_their_limits(patient: Store) -> None:
    limit, allowed = Limit("property", 1, HOUR), Counter[int]()
    limits = limiter(patient)

    async def attempt(client: int) -> None:
        decision = await limits.take(limit, f"client {client}")
        assert decision.counted
        allowed[client] += decision.allowed

    for first in range(0, 10_000, 500):
        clients = [client for client in range(first, first + 500) for _ in range(2)]
        await asyncio.gather(*map(attempt, clients))
    assert len(allowed) == 10_000
    assert set(allowed.values()) == {1}


async def test_many_tasks_of_one_client_never_exceed_its_limit(patient: Store) -> None:
    limit = Limit("crowd", 50, HOUR)
    decisions = await asyncio.gather(*(limiter(patient).take(limit, "one") for _ in range(300)))
    assert sum(decision.allowed for decision in decisions) == 50
    assert sorted(one.remaining for one in decisions if one.allowed) == list(range(50))
    assert all(0 < one.free_in <= 3600 for one in decisions if not one.allowed)


async def test_no_window_holds_more_than_the_quota_wherever_it_begins(store: Store) -> None:
    limit, limits = Limit("sliding", 5, timedelta(seconds=0.3)), limiter(store)
    asked, answered = list[float](), list[float]()
    async with asyncio.timeout(PATIENCE):
        while len(asked) < 25:
            before = time.monotonic()
            if (await limits.take(limit, "one")).allowed:
                asked.append(before)
                answered.append(time.monotonic())
    # By when the first was asked and when the sixth was answered: the way to Redis is no excuse.
    for first, sixth in zip(asked, answered[5:], strict=False):
        assert sixth - first > 0.298  # the clock of the server is another one


@pytest.mark.standard("DL-RD-24")
async def test_the_clock_of_a_client_decides_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, limits = Limit("skew", 3, HOUR), limiter(store)
    decisions = []
    for skew in (0, -86_400, 86_400, 7200, -7200):
        real = time.time()
        monkeypatch.setattr(time, "time", lambda shifted=real + skew: shifted)
        decisions.append(await limits.take(limit, "one"))
    assert [decision.allowed for decision in decisions] == [True, True, True, False, False]


async def test_a_server_whose_clock_was_ahead_shortens_no_window(store: Store) -> None:
    limit, limits = Limit("ahead", 2, HOUR), limiter(store)
    await limits.take(limit, "one")
    (key,) = [key async for key in store.client.scan_iter(f"{store.settings.service}:*")]
    # As a failover to a server leaves it whose clock is half an hour behind.
    await store.client.lset(key, 0, str(round((time.time() + 1800) * 1_000_000)))
    assert (await limits.take(limit, "one")).allowed
    refused = await limits.take(limit, "one")
    assert not refused.allowed
    assert refused.free_in == pytest.approx(3600, abs=PATIENCE)


async def test_a_limit_that_is_changed_holds_at_once(store: Store) -> None:
    limits = limiter(store)
    for _ in range(4):
        assert (await limits.take(Limit("changed", 4, HOUR), "one")).allowed
        await asyncio.sleep(0.02)
    lowered = await limits.take(Limit("changed", 2, HOUR), "one")
    full = await limits.take(Limit("changed", 4, HOUR), "one")
    assert not lowered.allowed
    # Not when the first of four goes, but when the third does.
    assert 0.03 < lowered.free_in - full.free_in < PATIENCE
    raised = await limits.take(Limit("changed", 6, HOUR), "one")
    assert (raised.allowed, raised.remaining) == (True, 1)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(["a", "a:b", "a%b", "{a}", "ä*?\n\x00", ""]), max_size=30))
async def test_clients_with_odd_names_are_counted_apart(store: Store, names: list[str]) -> None:
    await store.client.delete(
        *[key async for key in store.client.scan_iter(f"{store.settings.service}:*")] or ["none"]
    )
    limit, limits, allowed = Limit("odd", 2, HOUR), limiter(store), Counter[str]()
    for name in names:
        allowed[name] += (await limits.take(limit, name)).allowed
    for name, attempts in Counter(names).items():
        assert allowed[name] == min(attempts, 2)


async def test_every_key_expires_with_its_window(store: Store) -> None:
    brief = Limit("brief", 1, timedelta(seconds=1))
    assert (await limiter(store).take(brief, "one")).allowed
    await asyncio.sleep(1.05)
    assert [key async for key in store.client.scan_iter(f"{store.settings.service}:*")] == []
    assert (await limiter(store).take(Limit("long", 1, HOUR), "one")).allowed
    [key] = [key async for key in store.client.scan_iter(f"{store.settings.service}:*")]
    assert 0 < await store.client.pttl(key) <= 3_600_000


@pytest.mark.parametrize("when_down", ["open", "closed"])
async def test_redis_down_opens_or_closes_as_configured(
    own_redis: OwnServer, when_down: str
) -> None:
    limit = Limit("down", 1, HOUR)
    async with Store.open(settings_of(own_redis.url, breaker_pause=0.1)) as store:
        limits = limiter(store, when_down)
        assert (await limits.take(limit, "one")).counted
        own_redis.kill()
        for _ in range(10):
            decision = await limits.take(limit, "one")
            assert decision == Decision(when_down == "open", False, 0, 1.0)
        overridden = Limit("down", 1, HOUR, when_down="closed")
        assert not (await limits.take(overridden, "one")).allowed
        own_redis.start()
        async with asyncio.timeout(PATIENCE):
            for client in count():
                if (await limits.take(limit, f"client {client}")).counted:
                    break
                await asyncio.sleep(0.05)


async def test_a_server_that_hangs_costs_no_more_than_the_bound(
    own_redis: OwnServer,
) -> None:
    limit = Limit("hang", 1, HOUR)
    settings = settings_of(own_redis.url, timeout=1, breaker_failures=2, breaker_pause=600)
    async with Store.open(settings) as store:
        limits = limiter(store)
        await limits.take(limit, "one")
        own_redis.pause()
        try:
            async with asyncio.timeout(PATIENCE):
                for _ in range(20):
                    assert not (await limits.take(limit, "one")).counted
        finally:
            own_redis.resume()
        # Two attempts wait for the bound, and not all twenty: Redis is left alone after them.
        assert store.counts["failures"] == 2
        assert store.counts["held_back"] >= 18


@pytest.mark.parametrize(
    ("name", "quota", "window"),
    [("Orders", 1, HOUR), ("", 1, HOUR), ("a", 0, HOUR), ("a", 10_001, HOUR), ("a", 1, HOUR * 25)],
)
def test_a_limit_out_of_bounds_is_refused(name: str, quota: int, window: timedelta) -> None:
    with pytest.raises(ValueError, match=r"limit|quota|window"):
        Limit(name, quota, window)
