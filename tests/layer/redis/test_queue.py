"""The task queue: no job is lost, none is dropped, and each failure is kept with its reason."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel, SecretStr
from taskiq import ScheduledTask, TaskiqDepends

from my_project.data_layer import logs
from my_project.data_layer.redis import NotJson, RedisSettings
from my_project.data_layer.redis.queue import (
    JobTooLarge,
    Queue,
    QueueFull,
    QueueSettings,
    QueueUnreachable,
    broker,
    run_worker,
    schedules,
    task,
)
from my_project.data_layer.redis.queue.worker import Scheduler
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer, own_server

from .process import CONTEXT, start
from .tasks import die, fail, work, write
from .waiting import eventually

Found = TypeVar("Found")

# No sooner: what a busy machine holds up for a moment is alive.
AT_ONCE = QueueSettings(_env_file=None, claim_after=3.0, max_deliveries=3)


class Service:
    """Something that a worker provides."""


@task("tests.typed")
async def typed(day: date, *, by: int = 1, service: Service = TaskiqDepends()) -> str:
    assert isinstance(service, Service)
    return f"{day:%A} {by}"


@task("tests.about", attempts=2)
async def about(name: str) -> str | None:
    """The first attempt fails."""
    if name not in tried:
        tried.add(name)
        raise ValueError(name)
    return logs.request_id()


tried: set[str] = set()


class Day(BaseModel):
    day: date


@task("tests.odd")
async def odd(kind: str) -> Any:
    return [{"nan": math.nan, "bytes": b"\xff", "model": Day(day=date(2026, 1, 5))}[kind]]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a worker that has nothing to do."""
    monkeypatch.setattr(broker, "BLOCK", 0.1)


@pytest.fixture
def queue_settings(redis_settings: RedisSettings) -> RedisSettings:
    return redis_settings.model_copy(update={"queue_url": redis_settings.url})


@pytest.fixture
async def queue(queue_settings: RedisSettings) -> AsyncIterator[Queue]:
    async with Queue.open(queue_settings, AT_ONCE) as queue:
        yield queue


@asynccontextmanager
async def worker(settings: RedisSettings, queue: QueueSettings = AT_ONCE) -> AsyncIterator[None]:
    """A worker in this process; at the end it is told to stop, and waited for."""
    stop = asyncio.Event()
    async with Queue.open(settings, queue) as own:
        running = asyncio.create_task(run_worker(own, stop, {Service: Service()}))
        try:
            yield
        finally:
            stop.set()
            await running


@contextmanager
def processes(settings: RedisSettings, count: int, **queue: str) -> Iterator[list[BaseProcess]]:
    """Workers in processes of their own; killed at the end."""
    queue = {"REDIS_QUEUE_CLAIM_AFTER": str(AT_ONCE.claim_after), **queue}
    ready = [CONTEXT.Event() for _ in range(count)]
    workers = [start(settings, work, one, **queue) for one in ready]
    try:
        assert all(one.wait(PATIENCE) for one in ready)
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


async def found(ask: Callable[[], Awaitable[Found]]) -> Found:
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await ask()
            if answer:
                return answer
            await asyncio.sleep(0.02)


async def at_rest(queue: Queue) -> bool:
    return (await queue.state()).jobs == 0


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_a_job_runs_with_its_types_and_what_the_worker_provides(
    queue: Queue, queue_settings: RedisSettings
) -> None:
    job = await queue.send(typed, date(2026, 11, 23), by=3)
    async with worker(queue_settings):
        result = await job.wait_result(timeout=PATIENCE)
    assert result.return_value == "Monday 3"
    state = await queue.state()
    assert (state.jobs, state.running, state.dead, state.oldest) == (0, 0, 0, 0)


async def test_a_job_is_about_the_request_that_sent_it(
    queue: Queue, queue_settings: RedisSettings
) -> None:
    tried.clear()
    with logs.about("desk-1"):
        theirs = await queue.send(about, "theirs")
    nobodys = await queue.send(about, "nobody's")
    async with worker(queue_settings):
        results = [await job.wait_result(timeout=PATIENCE) for job in (theirs, nobodys)]
    assert [result.return_value for result in results] == ["desk-1", nobodys.task_id]
    assert tried == {"theirs", "nobody's"}


@pytest.mark.standard("DL-RD-22")
async def test_an_argument_that_cannot_be_sent_names_itself(queue: Queue, tmp_path: Path) -> None:
    for wrong, said in (
        (math.nan, "The argument seconds of tests.write is nan"),
        (object(), "The argument seconds of tests.write is of the type object"),
        ({"a": [math.inf]}, "The argument seconds of tests.write: its a.0 is inf"),
    ):
        seconds: Any = wrong
        with pytest.raises(NotJson, match=said):
            await queue.send(write, str(tmp_path), "name", seconds)
        with pytest.raises(NotJson, match=said):
            await queue.send(write, str(tmp_path), name="name", seconds=seconds)
    with pytest.raises(TypeError, match="name"):
        await queue.send(write, str(tmp_path))  # type: ignore[call-arg]
    assert await at_rest(queue)


async def test_a_result_that_cannot_be_kept_is_an_error(
    queue: Queue, queue_settings: RedisSettings
) -> None:
    async with worker(queue_settings):
        for wrong in ("nan", "bytes"):
            job = await queue.send(odd, wrong)
            result = await job.wait_result(timeout=PATIENCE, check_interval=0.05)
            assert result.is_err
            assert f"The result of job {job.task_id}: its 0 is " in str(result.error)
        job = await queue.send(odd, "model")
        result = await job.wait_result(timeout=PATIENCE, check_interval=0.05)
        assert result.return_value == [{"day": "2026-01-05"}]
    assert not await queue.dead_letters()


async def test_a_failing_job_is_tried_again_and_becomes_a_dead_letter(
    queue: Queue, queue_settings: RedisSettings
) -> None:
    job = await queue.send(fail, "no luck")
    async with worker(queue_settings):
        result = await job.wait_result(timeout=PATIENCE)
        assert result.is_err
        (letter,) = await queue.dead_letters()
        assert letter.task == "tests.fail"
        assert letter.reason == "failed 3 times, at last with ValueError: no luck"
        assert await queue.retry(letter.id)
        assert not await queue.retry(letter.id)
        again = await found(queue.dead_letters)
    assert again[0].id != letter.id
    assert again[0].reason == letter.reason


@pytest.mark.standard("DL-RD-23")
async def test_one_idempotency_key_runs_once(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    once = write.once("2026-11-23")
    jobs = await asyncio.gather(*(queue.send(once, str(tmp_path), "once") for _ in range(20)))
    assert len({job.task_id for job in jobs}) == 1
    other = await queue.send(write.once("2026-11-24"), str(tmp_path), "other")
    async with worker(queue_settings):
        results = await asyncio.gather(*(job.wait_result(timeout=PATIENCE) for job in jobs))
        await other.wait_result(timeout=PATIENCE)
        late = await queue.send(once, str(tmp_path), "once")
        assert (await late.wait_result(timeout=PATIENCE)).return_value == "once"
    assert {result.return_value for result in results} == {"once"}
    assert lines(tmp_path / "once").count("done") == 1
    assert lines(tmp_path / "other").count("done") == 1


async def test_a_delayed_job_waits_for_its_time(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    begun = time.monotonic()
    job = await queue.send(write.after(0.6), str(tmp_path), "late")
    assert (await queue.state()).delayed == 1
    async with worker(queue_settings):
        await job.wait_result(timeout=PATIENCE, check_interval=0.02)
    assert time.monotonic() - begun >= 0.6


async def test_a_full_queue_refuses_and_drops_nothing(
    queue_settings: RedisSettings, tmp_path: Path
) -> None:
    small = AT_ONCE.model_copy(update={"max_jobs": 3})
    async with Queue.open(queue_settings, small) as queue:
        for name in ("a", "b", "c"):
            await queue.send(write, str(tmp_path), name)
        with pytest.raises(QueueFull, match="holds 3 jobs"):
            await queue.send(write, str(tmp_path), "d")
        assert (await queue.state()).jobs == 3
        async with worker(queue_settings, small):
            await eventually(lambda: all(lines(tmp_path / name)[1:] for name in ("a", "b", "c")))
        assert not lines(tmp_path / "d")


async def test_a_job_that_is_too_large_is_refused(queue: Queue) -> None:
    with pytest.raises(JobTooLarge, match=r"tests\.write has 1,000,[0-9]{3} bytes"):
        await queue.send(write, "x" * 1_000_000, "large")
    assert (await queue.state()).jobs == 0


async def test_a_server_that_is_full_refuses_jobs_and_does_those_that_it_has(
    own_redis: OwnServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(own_redis.url, queue_url=SecretStr(own_redis.url))
    patient = AT_ONCE.model_copy(update={"max_deliveries": 1})
    async with Queue.open(settings, patient) as queue:
        await queue.send(write.after(0.05), str(tmp_path), "later")
        # Of a worker that died over it: it is to be buried, for which there is no place.
        client, keys = queue.broker.client, queue.broker
        await client.xadd(keys.jobs, {"job": b"poison"})
        await client.xgroup_create(keys.jobs, "workers", id="0")
        await client.xreadgroup("workers", "dead", {keys.jobs: ">"})
        for name in ("a", "b"):
            await queue.send(write, str(tmp_path), name)
        await asyncio.sleep(AT_ONCE.claim_after)
        await client.config_set("maxmemory", "1")
        with pytest.raises(QueueFull, match="no memory left"):
            await queue.send(write, str(tmp_path), "c")
        async with worker(settings, patient):
            await eventually(lambda: all("done" in lines(tmp_path / name) for name in ("a", "b")))
            assert not lines(tmp_path / "later")
            assert not await queue.dead_letters()
            assert "can't be read" not in caplog.text, "nothing holds the worker up"
            await client.config_set("maxmemory", "0")
            await eventually(lambda: "done" in lines(tmp_path / "later"))
            await found(queue.dead_letters)
            await found(lambda: at_rest(queue))


async def test_an_idempotency_key_is_free_again_when_it_is_forgotten(
    queue_settings: RedisSettings, tmp_path: Path
) -> None:
    hour = AT_ONCE.model_copy(update={"once_ttl": 3600, "result_ttl": 3600})
    async with Queue.open(queue_settings, hour) as queue, worker(queue_settings, hour):
        client, keys = queue.broker.client, queue.broker
        for count, forgotten in ((1, False), (1, True), (2, False)):
            job = await queue.send(write.once("key"), str(tmp_path), "once")
            await job.wait_result(timeout=PATIENCE, check_interval=0.05)
            assert lines(tmp_path / "once").count("done") == count
            for key in (keys.once(job.task_id), keys.result(job.task_id)):
                assert 0 < await client.ttl(key) <= 3600
                if forgotten:
                    await client.delete(key)


async def test_a_job_that_no_worker_knows_becomes_a_dead_letter(
    queue: Queue, queue_settings: RedisSettings
) -> None:
    unknown = typed.__class__("tests.of-another-version", typed.function)
    await queue.send(unknown, date(2026, 1, 1))
    client, jobs = queue.broker.client, queue.broker.jobs
    await client.xadd(jobs, {"job": b"\xff no job"})
    await client.xadd(jobs, {"something": b"else"})
    async with worker(queue_settings):
        await found(lambda: at_rest(queue))
    letters = await queue.dead_letters()
    assert [letter.task for letter in letters].count("?") == 2
    assert {letter.task for letter in letters} == {"tests.of-another-version", "?"}
    assert all("none of them finished it" in letter.reason for letter in letters)
    assert (await queue.state()).jobs == 0


async def test_everything_that_the_queue_keeps_expires(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    await queue.send(fail, "kept")
    await queue.send(write.once("key").after(60), str(tmp_path), "never")
    async with worker(queue_settings):
        await found(queue.dead_letters)
    client = queue.broker.client
    service = queue_settings.service
    keys = [key async for key in client.scan_iter(f"*{service}:*")]
    assert len(keys) == 5
    for key in keys:
        assert await client.ttl(key) > 0, key


async def test_a_queue_that_is_down_says_so(own_redis: OwnServer, tmp_path: Path) -> None:
    settings = settings_of(own_redis.url, queue_url=SecretStr(own_redis.url))
    async with Queue.open(settings, AT_ONCE) as queue:
        own_redis.kill()
        with pytest.raises(QueueUnreachable, match=r"tests\.write"):
            await queue.send(write, str(tmp_path), "lost")


@pytest.mark.standard("DL-RD-22")
async def test_the_job_of_a_killed_worker_is_done_by_another(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    # Nothing else is sent meanwhile: a queue at rest must notice as well.
    with processes(queue_settings, 1) as (first,):
        await queue.send(write, str(tmp_path), "job", seconds=1.0)
        await eventually(lambda: bool(lines(tmp_path / "job")))
        first.kill()
        with processes(queue_settings, 1) as (second,):
            await eventually(lambda: "done" in lines(tmp_path / "job"))
            assert lines(tmp_path / "job") == [
                f"begun by {first.pid}",
                f"begun by {second.pid}",
                "done",
            ]
            await found(lambda: at_rest(queue))


async def test_a_long_job_stays_with_its_worker(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    with processes(queue_settings, 2):
        job = await queue.send(write, str(tmp_path), "long", seconds=7)
        await job.wait_result(timeout=PATIENCE)
    assert [line[:5] for line in lines(tmp_path / "long")] == ["begun", "done"]


async def test_a_worker_that_stops_keeps_the_job_that_it_ends(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    async with AsyncExitStack() as others, worker(queue_settings):
        await queue.send(write, str(tmp_path), "job", seconds=7)
        await eventually(lambda: bool(lines(tmp_path / "job")))
        # From now on the first one stops, for longer than a silent worker is waited for.
        await others.enter_async_context(worker(queue_settings))
    assert [line[:5] for line in lines(tmp_path / "job")] == ["begun", "done"]


async def test_a_job_that_ends_its_workers_is_buried(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    await queue.send(die, str(tmp_path))
    with processes(queue_settings, 4, REDIS_QUEUE_MAX_DELIVERIES="2"):
        letters = await found(queue.dead_letters)
    assert letters[0].task == "tests.die"
    assert lines(tmp_path / "deaths") == ["dead", "dead"]


async def test_a_worker_that_is_told_to_stop_ends_its_jobs_first(
    queue: Queue, queue_settings: RedisSettings, tmp_path: Path
) -> None:
    with processes(queue_settings, 1) as (one,):
        await queue.send(write, str(tmp_path), "job", seconds=0.5)
        await eventually(lambda: bool(lines(tmp_path / "job")))
        one.terminate()
        await asyncio.to_thread(one.join, PATIENCE)
        assert one.exitcode == 0
    assert lines(tmp_path / "job")[-1] == "done"
    state = await queue.state()
    assert (state.jobs, state.workers) == (0, 0)


@pytest.mark.standard("DL-RD-22")
async def test_acknowledged_jobs_survive_a_killed_server(tmp_path: Path) -> None:
    durable = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    with own_server(durable) as server:
        settings = settings_of(server.url, queue_url=SecretStr(server.url))
        async with Queue.open(settings, AT_ONCE) as queue:
            with processes(settings, 2):
                names = [str(number) for number in range(60)]
                for name in names:
                    await acknowledged(queue, tmp_path, name)
                    if name == "30":
                        server.kill()
                        server.start()
                await eventually(lambda: all("done" in lines(tmp_path / name) for name in names))


async def acknowledged(queue: Queue, folder: Path, name: str) -> None:
    """Send a job until somebody says that it is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(QueueUnreachable):
                await queue.send(write.once(name), str(folder), name)
                return
            await asyncio.sleep(0.02)


async def test_each_tick_of_a_schedule_is_sent_once_by_however_many_schedulers(
    queue: Queue, queue_settings: RedisSettings
) -> None:
    scheduled = ScheduledTask(
        task_name="tests.write",
        labels={},
        args=[],
        kwargs={},
        schedule_id="tests.write",
        cron="* * * * *",
    )
    begun = time.time() // 60
    async with Queue.open(queue_settings, AT_ONCE) as other:
        for one in (queue, other, queue):
            scheduler = Scheduler(one)
            await scheduler.on_ready(scheduler.sources[0], scheduled)
    minutes = time.time() // 60 - begun + 1  # two where one ends meanwhile
    assert 1 <= (await queue.state()).jobs <= minutes


async def test_a_tick_is_sent_when_the_queue_is_back(own_redis: OwnServer) -> None:
    settings = settings_of(own_redis.url, queue_url=SecretStr(own_redis.url))
    async with Queue.open(settings, AT_ONCE) as queue:
        own_redis.kill()
        scheduler = Scheduler(queue)
        scheduled = ScheduledTask(
            task_name="tests.write",
            labels={},
            args=[],
            kwargs={},
            schedule_id="tests.write",
            cron="* * * * *",
        )
        sending = asyncio.create_task(scheduler.on_ready(scheduler.sources[0], scheduled))
        await asyncio.sleep(0.2)
        own_redis.start()
        await asyncio.wait_for(sending, PATIENCE)
        assert (await queue.state()).jobs == 1


async def test_a_schedule_is_known_to_the_scheduler(queue: Queue) -> None:
    @task("tests.nightly", schedule="0 3 * * *")
    async def nightly() -> None: ...

    [source] = Scheduler(queue).sources
    await source.startup()
    crons = {one.task_name: one.cron for one in await source.get_schedules()}
    assert crons["tests.nightly"] == schedules()["tests.nightly"] == "0 3 * * *"
