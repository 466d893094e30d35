"""The two-layer cache on a real server: what it keeps, who loads, what makes values go."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from my_project.data_layer.database import Database
from my_project.data_layer.redis import (
    Cache,
    Computed,
    Configuration,
    InvalidKey,
    InvalidPolicy,
    InvalidTimeToLive,
    RedisSettings,
    Source,
    Store,
    TimeToLive,
    UserData,
)
from tests.layer import PATIENCE
from tests.layer.redis.waiting import Transaction, eventually


class Profile(BaseModel, frozen=True):
    name: str
    cash: Decimal


@dataclass(frozen=True)
class Total:
    value: int


def ttl(seconds: float) -> TimeToLive:
    return TimeToLive(timedelta(seconds=seconds))


TRADES = Source("trades")
# Values that stay for longer than any test takes.
PROFILES = UserData("profile", Profile, ttl(7200), absent=ttl(3600), local=ttl(3600))
REMOTE = UserData("remote", int, ttl(3600), local=None)
TOTALS = Computed("total", Total, ttl(3600), of=(TRADES,), local=ttl(3600))
# Whoever waited for a lease of these would wait for longer than any test takes.
SLOW = UserData("slow", Profile, ttl(3600), local=None, loading=ttl(3600))

ADA = Profile(name="Ada", cash=Decimal("1.50"))


class Loader:
    """Counts how often it is asked, and gives what it is told to."""

    def __init__(self, value: Any, *, seconds: float = 0.0) -> None:
        self.value = value
        self.seconds = seconds
        self.calls = 0

    async def __call__(self) -> Any:
        self.calls += 1
        value = self.value
        await asyncio.sleep(self.seconds)
        return value


@pytest.fixture
def redis_settings(redis_settings: RedisSettings) -> RedisSettings:
    return redis_settings.model_copy(update={"local_ttl": 300.0})


@pytest.fixture
async def cache(store: Store) -> AsyncIterator[Cache]:
    async with Cache.open(store) as cache:
        await eventually(lambda: cache.is_hearing)
        yield cache


@pytest.fixture
async def elsewhere(redis_settings: RedisSettings) -> AsyncIterator[Cache]:
    """The cache of another process, as far as this one can tell."""
    async with Store.open(redis_settings) as store, Cache.open(store) as cache:
        await eventually(lambda: cache.is_hearing)
        yield cache


async def test_a_value_is_loaded_once_and_comes_back_typed(cache: Cache, elsewhere: Cache) -> None:
    load = Loader(ADA)
    assert await cache.get(PROFILES, "ada", load) == ADA
    assert await cache.get(PROFILES, "ada", load) == ADA
    assert await elsewhere.get(PROFILES, "ada", load) == ADA
    assert load.calls == 1
    assert cache.store.counts["hits_local"] == 1
    assert elsewhere.store.counts["hits"] == 1


@pytest.mark.standard("DL-RD-11")
async def test_every_key_that_the_cache_writes_expires(cache: Cache, database: Database) -> None:
    await cache.get(PROFILES, "ada", Loader(ADA))
    await cache.get(PROFILES, "nobody", Loader(None))
    await cache.get(TOTALS, "all", Loader(Total(3)))
    async with database.transaction() as session:
        cache.changed(session, TRADES)
    slow = Loader(ADA, seconds=600)
    loading = asyncio.create_task(cache.get(SLOW, "ada", slow))
    await eventually(lambda: slow.calls == 1)

    found = {}
    async for name in cache.store.client.scan_iter(f"*{cache.store.settings.service}:*"):
        found[name.decode()] = await cache.store.client.pttl(name)
    loading.cancel()
    assert len(found) == 5  # the three values, the state of the source, a lease
    assert all(0 < left <= 31 * 86_400_000 for left in found.values()), found


@pytest.mark.standard("DL-RD-11")
def test_no_value_without_a_time_to_live() -> None:
    for seconds in (0.999, 0, -1, 367 * 86_400):
        with pytest.raises(InvalidTimeToLive, match="belongs into PostgreSQL"):
            ttl(seconds)
    with pytest.raises(TypeError):
        UserData("profile", Profile)  # type: ignore[call-arg]


def test_a_policy_that_contradicts_its_kind_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="nothing invalidates it"):
        Configuration("flags", bool, ttl(301))
    with pytest.raises(InvalidPolicy, match="computed from nothing"):
        Computed("total", Total, ttl(60), of=())
    with pytest.raises(InvalidKey, match="empty"):
        UserData("", Profile, ttl(60))
    with pytest.raises(InvalidKey, match="empty"):
        Source("")


async def test_that_there_is_none_is_remembered(cache: Cache, elsewhere: Cache) -> None:
    load = Loader(None)
    assert await cache.get(PROFILES, "nobody", load) is None
    assert await cache.get(PROFILES, "nobody", load) is None
    assert await elsewhere.get(PROFILES, "nobody", load) is None
    assert load.calls == 1


async def test_without_absent_none_is_not_remembered(cache: Cache) -> None:
    load = Loader(None)
    assert await cache.get(REMOTE, "none", load) is None
    assert await cache.get(REMOTE, "none", load) is None
    assert load.calls == 2


async def test_an_error_reaches_all_who_wait_and_is_not_kept(cache: Cache) -> None:
    async def fail() -> Profile:
        await asyncio.sleep(0.05)
        raise ValueError("no such profile")

    waiting = [asyncio.create_task(cache.get(SLOW, "ada", fail)) for _ in range(3)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in results] == ["no such profile"] * 3
    # The lease was given back; nobody waits for it to end.
    async with asyncio.timeout(PATIENCE):
        assert await cache.get(SLOW, "ada", Loader(ADA)) == ADA


async def test_what_is_no_key_is_an_error_for_everybody(cache: Cache) -> None:
    for identifier in ("", "x" * 2000):
        for _ in range(2):
            with pytest.raises(InvalidKey):
                await asyncio.wait_for(cache.get(PROFILES, identifier, Loader(ADA)), PATIENCE)


@pytest.mark.parametrize("wrong", [{"name": "Ada", "cash": "1.50"}, object()])
async def test_what_the_policy_does_not_name_is_answered_and_not_kept(
    cache: Cache, elsewhere: Cache, caplog: pytest.LogCaptureFixture, wrong: object
) -> None:
    load = Loader(wrong)
    for one in (cache, elsewhere):
        async with asyncio.timeout(PATIENCE):  # the second waits for no lease of the first
            assert await one.get(SLOW, "ada", load) is wrong
        assert one.store.counts["unserialisable"] == 1
    assert load.calls == 2
    assert "slow:ada:v1 is not kept" in caplog.text


async def test_a_number_that_json_does_not_have_is_answered_and_not_kept(
    cache: Cache, elsewhere: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    cash = UserData("cash", dict[str, float], ttl(3600), local=None)
    for number in (math.nan, math.inf, -math.inf):
        for one in (cache, elsewhere):
            assert (await one.get(cash, "ada", Loader({"euro": number}))) == {
                "euro": pytest.approx(number, nan_ok=True)
            }
    assert cache.store.counts["unserialisable"] == 3
    assert cache.store.counts["undecodable"] == elsewhere.store.counts["undecodable"] == 0
    assert "cash:ada:v1 is not kept" in caplog.text
    assert "euro: Input should be a valid number" in caplog.text


async def test_where_the_type_says_so_it_is_null(cache: Cache, elsewhere: Cache) -> None:
    perhaps = UserData("perhaps", dict[str, float | None], ttl(3600), local=None)
    load = Loader({"euro": math.nan})
    await cache.get(perhaps, "ada", load)
    assert await elsewhere.get(perhaps, "ada", load) == {"euro": None}
    assert load.calls == 1


@pytest.mark.parametrize("loading", [False, True], ids=["while-it-looks", "while-it-loads"])
async def test_one_who_gives_up_does_not_stop_the_others(cache: Cache, loading: bool) -> None:
    load = Loader(ADA, seconds=0.1)
    first = asyncio.create_task(cache.get(PROFILES, "ada", load))
    others = [asyncio.create_task(cache.get(PROFILES, "ada", load)) for _ in range(200)]
    await asyncio.sleep(0)
    if loading:
        await eventually(lambda: load.calls == 1)
    assert load.calls == loading
    first.cancel()
    assert await asyncio.gather(*others) == [ADA] * 200
    assert load.calls == 1
    assert await cache.get(PROFILES, "ada", load) == ADA
    assert load.calls == 1


@pytest.mark.standard("DL-RD-13")
async def test_a_write_is_seen_everywhere_after_its_commit(
    cache: Cache, elsewhere: Cache, database: Database
) -> None:
    load = Loader(ADA)
    for one in (cache, elsewhere):
        await one.get(PROFILES, "ada", load)
    richer = Profile(name="Ada", cash=Decimal(9))
    load.value = richer
    async with database.transaction() as session:
        cache.invalidate(session, PROFILES, "ada")
        assert await cache.get(PROFILES, "ada", load) == ADA, "before the commit nothing goes"
    assert await cache.get(PROFILES, "ada", load) == richer
    # By itself the other process would keep the old value for longer.
    async with asyncio.timeout(elsewhere.store.settings.local_ttl * 0.9):
        while await elsewhere.get(PROFILES, "ada", load) != richer:
            await asyncio.sleep(0.001)
    assert load.calls == 2


@pytest.mark.standard("DL-RD-13")
async def test_a_rollback_invalidates_nothing(cache: Cache, database: Database) -> None:
    load = Loader(ADA)
    await cache.get(PROFILES, "ada", load)

    async def write() -> None:
        async with database.transaction() as session:
            cache.invalidate(session, PROFILES, "ada")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await write()
    await cache.get(PROFILES, "ada", load)
    assert load.calls == 1


@pytest.mark.standard("DL-RD-13")
@pytest.mark.parametrize("where", ["the same process", "another process"])
async def test_what_was_read_before_a_write_is_not_stored_after_it(
    cache: Cache, elsewhere: Cache, where: str
) -> None:
    """The lost race: read, then a write commits and invalidates, then the old value is stored."""
    writer = cache if where == "the same process" else elsewhere
    slow = Loader(1, seconds=0.3)
    reading = asyncio.create_task(cache.get(REMOTE, "n", slow))
    await eventually(lambda: slow.calls == 1)
    async with Transaction() as session:
        writer.invalidate(session, REMOTE, "n")
    # Whoever asks from now on gets the new value, also while the old load is still under way.
    fresh = Loader(2)
    assert await writer.get(REMOTE, "n", fresh) == 2
    assert await reading == 1
    assert await cache.get(REMOTE, "n", fresh) == 2
    assert await elsewhere.get(REMOTE, "n", fresh) == 2
    assert fresh.calls == 1


@pytest.mark.standard("DL-RD-13")
@pytest.mark.parametrize("where", ["the same process", "another process"])
async def test_what_was_computed_before_a_change_is_not_used_after_it(
    cache: Cache, elsewhere: Cache, where: str
) -> None:
    writer = cache if where == "the same process" else elsewhere
    slow = Loader(Total(1), seconds=0.3)
    reading = asyncio.create_task(cache.get(TOTALS, "all", slow))
    await eventually(lambda: slow.calls == 1)
    async with Transaction() as session:
        writer.changed(session, TRADES)
    fresh = Loader(Total(2))
    assert await writer.get(TOTALS, "all", fresh) == Total(2)
    assert await reading == Total(1)
    assert await cache.get(TOTALS, "all", fresh) == Total(2)
    assert await elsewhere.get(TOTALS, "all", fresh) == Total(2)
    assert fresh.calls == 1


@pytest.mark.standard("DL-RD-13")
async def test_a_change_of_a_source_reaches_all_results_and_no_others(
    cache: Cache, elsewhere: Cache, database: Database
) -> None:
    load, profile = Loader(Total(1)), Loader(ADA)
    for one in (cache, elsewhere):
        for name in ("north", "south"):
            assert await one.get(TOTALS, name, load) == Total(1)
        await one.get(PROFILES, "ada", profile)
    load.value = Total(2)
    async with database.transaction() as session:
        cache.changed(session, TRADES)
    async with asyncio.timeout(elsewhere.store.settings.local_ttl * 0.9):
        while await elsewhere.get(TOTALS, "north", load) != Total(2):
            await asyncio.sleep(0.001)
    for one in (cache, elsewhere):
        for name in ("north", "south"):
            assert await one.get(TOTALS, name, load) == Total(2)
        await one.get(PROFILES, "ada", profile)
    assert (load.calls, profile.calls) == (4, 1)


async def test_a_source_whose_state_was_evicted_makes_results_go(cache: Cache) -> None:
    load = Loader(Total(1))
    remote = Computed("remote-total", Total, ttl(3600), of=(TRADES,), local=None)
    await cache.get(remote, "all", load)
    await cache.store.client.delete(str(cache.store.key("cache-source", "trades")))
    await cache.get(remote, "all", load)
    await cache.get(remote, "all", load)
    assert load.calls == 2


async def test_configuration_goes_by_its_time(cache: Cache) -> None:
    load = Loader({"dark": True})
    brief = Configuration("brief", dict[str, bool], ttl(1), local=None)
    assert await cache.get(brief, "all", load) == {"dark": True}
    load.value = {"dark": False}
    await asyncio.sleep(1.1)
    assert await cache.get(brief, "all", load) == {"dark": False}


async def test_another_version_is_another_value(cache: Cache) -> None:
    one = UserData("thing", int, ttl(3600))
    two = UserData("thing", str, ttl(3600), version=2)
    assert await cache.get(one, "a", Loader(1)) == 1
    assert await cache.get(two, "a", Loader("x")) == "x"
    assert await cache.get(one, "a", Loader(3)) == 1


async def test_another_schema_under_one_version_is_loaded_and_replaced(cache: Cache) -> None:
    before = UserData("thing", str, ttl(3600), local=None)
    now = UserData("thing", Profile, ttl(3600), local=None)
    await cache.get(before, "a", Loader("x"))
    load = Loader(ADA)
    assert await cache.get(now, "a", load) == ADA
    assert await cache.get(now, "a", load) == ADA
    assert load.calls == 1
    assert cache.store.counts["undecodable"] >= 1


async def test_something_else_under_the_key_is_loaded_and_replaced(cache: Cache) -> None:
    name = str(cache.store.key("remote", "n"))
    for rubbish in (b"", b"\xff", b"1 2 3", b"x y 1 \n1", b"1 1 1 \n{"):
        await cache.store.client.set(name, rubbish, ex=3600)
        load = Loader(1)
        assert await cache.get(REMOTE, "n", load) == 1
        assert await cache.get(REMOTE, "n", load) == 1
        assert load.calls == 1, rubbish


async def test_the_first_layer_is_bounded(redis_settings: RedisSettings) -> None:
    few = redis_settings.model_copy(update={"local_entries": 3})
    async with Store.open(few) as store, Cache.open(store) as cache:
        await eventually(lambda: cache.is_hearing)
        for number in range(10):
            await cache.get(PROFILES, f"n{number}", Loader(ADA))
        assert cache.entries == 3
        load = Loader(ADA)
        await cache.get(PROFILES, "n9", load)
        assert cache.store.counts["hits_local"] == 1
        assert load.calls == 0


@pytest.mark.parametrize("odd", ["a:b", "{x}", "ä\n\0", "*", "%", "a b", "x" * 900, "\ud800"])
async def test_odd_identifiers_are_names_like_any_other(
    cache: Cache, elsewhere: Cache, odd: str
) -> None:
    await cache.get(PROFILES, odd, Loader(ADA))
    richer = Profile(name=odd.encode("utf-8", "replace").decode(), cash=Decimal(2))
    assert await elsewhere.get(PROFILES, odd, Loader(richer)) == ADA
    async with Transaction() as session:
        cache.invalidate(session, PROFILES, odd)
    await eventually(lambda: elsewhere.entries == 0)
    assert await elsewhere.get(PROFILES, odd, Loader(richer)) == richer
