"""One setting moves it to a cluster or behind sentinels, and everything holds there."""

import asyncio
from datetime import timedelta

import pytest

from my_project.data_layer import checklist
from my_project.data_layer.checklist import Verdict
from my_project.data_layer.redis import (
    Cache,
    Computed,
    RedisSettings,
    Source,
    Store,
    TimeToLive,
    UserData,
    checks,
)
from tests.layer import PATIENCE
from tests.layer.redis.topologies import Cluster, Watched, serves_all
from tests.layer.redis.waiting import Transaction, eventually

HOUR = TimeToLive(timedelta(hours=1))
NUMBER = UserData("number", int, HOUR)
REMOTE = UserData("remote", int, HOUR, local=None)
TRADES, QUOTES = Source("trades"), Source("quotes")
TOTAL = Computed("total", int, HOUR, of=(TRADES, QUOTES))


class Database:
    def __init__(self) -> None:
        self.value = 0
        self.loads = 0

    async def load(self) -> int:
        self.loads += 1
        return self.value


async def works(settings: RedisSettings) -> None:
    """Load once, hit, invalidate by key and by source, hear it elsewhere."""
    database = Database()
    # What is asked is whether it works there, not how soon.
    settings = settings.model_copy(update={"timeout": 60.0, "connect_timeout": 60.0})
    async with (
        Store.open(settings) as store,
        Store.open(settings) as other,
        Cache.open(store) as here,
        Cache.open(other) as there,
    ):
        await eventually(lambda: here.is_hearing and there.is_hearing)
        names = [f"n{number}" for number in range(30)]  # in every part of a cluster
        for policy in (NUMBER, TOTAL):
            database.loads = 0
            for name in names:
                assert await here.get(policy, name, database.load) == database.value
                assert await there.get(policy, name, database.load) == database.value
            assert database.loads == len(names)
            database.value += 1
            async with Transaction() as session:
                here.changed(session, QUOTES)
                here.invalidate(session, NUMBER, *names)
            for name in names:
                async with asyncio.timeout(PATIENCE):
                    while await there.get(policy, name, database.load) != database.value:
                        await asyncio.sleep(0.01)
        assert store.counts["failures"] == other.counts["failures"] == 0
        assert here.pending == 0


async def found(settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> dict[str, Verdict]:
    patient = settings.model_copy(update={"timeout": 60.0, "connect_timeout": 60.0})
    monkeypatch.setattr(checks, "load", lambda _: patient)
    report = await checklist.run(checks.redis_checks(), timeout=PATIENCE)
    return {result.check.id: result.finding.verdict for result in report.results}


async def test_a_cluster_does_all_of_it(three: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    await works(three.settings)
    verdicts = await found(three.settings, monkeypatch)
    assert verdicts["DL-RD-01"] is verdicts["DL-RD-05"] is verdicts["DL-RD-07"] is Verdict.PASSED


@pytest.mark.standard("DL-RD-07")
async def test_a_cluster_that_lacks_a_master_degrades_to_the_loader(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database()
    settings = three.settings.model_copy(update={"timeout": 0.5})
    async with Store.open(settings) as store, Cache.open(store) as cache:
        names = [f"n{number}" for number in range(20)]
        for name in names:
            await cache.get(REMOTE, name, database.load)
        await asyncio.to_thread(three.nodes[1].kill)
        # Both before the others have noticed and after it.
        while await asyncio.to_thread(serves_all, three.nodes[0]):
            for name in names:
                assert await cache.get(REMOTE, name, database.load) == 0
        for name in names:
            assert await cache.get(REMOTE, name, database.load) == 0
        verdicts = await found(settings, monkeypatch)
        assert verdicts["DL-RD-07"] is Verdict.FAILED
        await asyncio.to_thread(three.nodes[1].start)
        hits = store.counts["hits"]

        async def heals() -> None:
            while store.counts["hits"] < hits + 20:
                for name in names:
                    assert await cache.get(REMOTE, name, database.load) == 0
                await asyncio.sleep(0.05)

        await asyncio.wait_for(heals(), PATIENCE)


async def test_sentinels_lead_to_the_master(
    guarded: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await works(guarded.settings)
    async with asyncio.timeout(PATIENCE):
        while True:
            verdicts = await found(guarded.settings, monkeypatch)
            # A master that an earlier test has killed may come back as a replica just now.
            if verdicts["DL-RD-07"] is Verdict.PASSED:
                break
    assert verdicts["DL-RD-01"] is verdicts["DL-RD-05"] is verdicts["DL-RD-07"] is Verdict.PASSED


@pytest.mark.standard("DL-RD-14")
async def test_a_failover_under_load_costs_loads_and_no_error(guarded: Watched) -> None:
    database = Database()
    ended = asyncio.Event()

    async with Store.open(guarded.settings) as store, Cache.open(store) as cache:

        async def traffic(number: int) -> None:
            while not ended.is_set():
                assert await cache.get(REMOTE, str(number), database.load) == 0
                await asyncio.sleep(0.01)

        running = [asyncio.create_task(traffic(number)) for number in range(5)]
        await eventually(lambda: store.counts["hits"] > 20 and cache.is_hearing)
        await asyncio.to_thread(guarded.master.kill)
        await eventually(lambda: not store.is_available)
        await eventually(lambda: store.is_available and cache.is_hearing)
        hits = store.counts["hits"]
        await eventually(lambda: store.counts["hits"] > hits + 20)
        ended.set()
        await asyncio.gather(*running)
        # Invalidations go to the new master.
        database.value = 1
        async with Transaction() as session:
            cache.invalidate(session, REMOTE, "0")
        assert await cache.get(REMOTE, "0", database.load) == 1
