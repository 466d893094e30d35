"""What one request sets off is one trace: statements, Redis, the job that it sends, its saga."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from pydantic import BaseModel
from redis.exceptions import ResponseError
from sqlalchemy import MetaData, text
from taskiq import TaskiqDepends

from my_project.data_layer import sagas, tracing
from my_project.data_layer.database import Database, DatabaseSettings, WriteSession
from my_project.data_layer.http import DatabaseDependency, create_api
from my_project.data_layer.redis import RedisSettings, Store, TimeToLive, UserData
from my_project.data_layer.redis.http import CacheDependency, QueueDependency, StoreDependency
from my_project.data_layer.redis.queue import Queue, broker, run_worker, task
from my_project.data_layer.sagas import Saga, SagaSettings, StepCall, Undo, declarations, models
from tests.layer import PATIENCE
from tests.layer.spans import Spans, tracing_on

SECRET = "hunter2"
WORDS = UserData("tests-words", str, TimeToLive(timedelta(minutes=1)))


class Given(BaseModel):
    word: str


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    monkeypatch.setattr(broker, "BLOCK", 0.1)
    with tracing_on(monkeypatch) as spans:
        yield spans


@pytest.fixture
def saga() -> Iterator[Saga[Given]]:
    there = dict(declarations.SAGAS)
    saga = Saga("tests.traced", Given)

    @saga.local(undo=Undo.NOTHING)
    async def settle(session: WriteSession, call: StepCall[Given]) -> None:
        await session.execute(text("SELECT :word AS settled"), {"word": call.arguments.word})

    yield saga
    declarations.SAGAS.clear()
    declarations.SAGAS.update(there)


@task("tests.traced", attempts=2, backoff=0.01)
async def work(word: str, database: Database = TaskiqDepends()) -> None:
    """Its first attempt fails."""
    saga: Any = declarations.SAGAS["tests.traced", 1]
    async with database.transaction() as session:
        if not tried:
            tried.append(word)
            raise ValueError(word)
        await saga.start(session, Given(word=word), key=word)


tried: list[str] = []


@pytest.fixture
def app(spans: Spans, database_settings: DatabaseSettings, redis_in_environment: None) -> FastAPI:
    app = create_api("test", settings=database_settings)

    @app.get("/words/{word}")
    async def read(
        word: str, database: DatabaseDependency, cache: CacheDependency, queue: QueueDependency
    ) -> None:
        async def load() -> str:
            async with database.read_only() as session:
                return str(await session.scalar(text("SELECT :word"), {"word": word}))

        await cache.get(WORDS, word, load)
        await queue.send(work, word)

    @app.get("/wrong/{word}")
    async def break_(word: str, store: StoreDependency) -> None:
        """Errors of Redis that quote what it was given."""
        key = str(store.key("tests-wrong", word))

        async def wrong(redis: Any) -> None:
            await redis.set(key, word, px=60_000)
            pipeline = redis.pipeline(transaction=False)
            pipeline.get(key).lpush(key, word)
            with suppress(ResponseError):
                await pipeline.execute()
            with suppress(ResponseError):
                await redis.eval("return redis.error_reply(ARGV[1])", 1, key, word)
            with suppress(ResponseError):
                await redis.execute_command(f"LPUSH {key} {word}")

        await store.run(wrong)

    return app


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test") as client,
    ):
        assert (await client.get("/health/ready")).status_code == 200
        yield client


@asynccontextmanager
async def working(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A worker of jobs and one of sagas, with a database of their own."""
    stop = asyncio.Event()
    async with Queue.open() as queue, Database.open(settings) as database:
        async with database.engine.begin() as connection:
            tables: MetaData = models.Own.metadata
            await connection.run_sync(tables.create_all)
        every = SagaSettings(_env_file=None, poll=0.1)
        work = [
            run_worker(queue, stop, {Database: database}),
            sagas.run_worker(database, stop, every),
        ]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield database
        finally:
            stop.set()
            await asyncio.gather(*tasks)
            async with database.engine.begin() as connection:
                await connection.run_sync(tables.drop_all)


async def test_what_a_request_sets_off_is_one_tree(
    app: FastAPI, saga: Saga[Given], spans: Spans, database_settings: DatabaseSettings
) -> None:
    tried.clear()
    async with working(database_settings), served(app) as client:
        answer = await client.get(f"/words/{SECRET}?word={SECRET}")
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(PATIENCE):
            while "saga tests.traced" not in {one.name for one in spans.ended}:
                await asyncio.sleep(0.05)
    # A server that has not seen a script yet is sent it first.
    tree = [line for line in spans.tree if line.strip() not in ("EVALSHA", "SCRIPT")]
    assert tree == [
        "GET /words/{word}",
        *("  GET", "  PIPELINE", "  transaction", "    SELECT"),
        "  send tests.traced",
        *("    tests.traced", "      transaction"),
        *("    tests.traced", "      transaction", "        INSERT"),
        "saga tests.traced",
        *("  transaction", "    SELECT", "    step settle", "      SELECT", "    WITH"),
    ]
    assert "    EVALSHA" in spans.tree
    jobs = [one for one in spans.ended if one.name == "tests.traced"]
    assert [(one.attributes or {}).get("error.type") for one in jobs] == ["ValueError", None]
    assert spans.traces == {answer.headers["x-request-id"]}
    assert SECRET not in spans.text


async def test_no_error_of_redis_is_quoted(app: FastAPI, spans: Spans) -> None:
    async with served(app) as client:
        assert (await client.get(f"/wrong/{SECRET}")).status_code == 200
    assert spans.tree == ["GET /wrong/{word}", "  SET", "  PIPELINE", "  EVAL", "  LPUSH"]
    kinds = [(one.attributes or {}).get("error.type") for one in spans.ended]
    assert kinds == [None, None, "ResponseError", "ResponseError", "ResponseError"]
    assert SECRET not in spans.text


@pytest.mark.parametrize("several", ["three", "guarded"])
async def test_several_servers_are_traced_as_one_is(
    several: str, request: pytest.FixtureRequest, spans: Spans
) -> None:
    settings: RedisSettings = request.getfixturevalue(several).settings
    patient = {"timeout": PATIENCE, "connect_timeout": PATIENCE}
    async with Store.open(settings.model_copy(update=patient)) as store:
        key = str(store.key("tests-traced", SECRET))

        async def both(redis: Any) -> None:
            await redis.set(key, SECRET, px=60_000)
            pipeline = redis.pipeline(transaction=False)
            pipeline.get(key)
            assert await pipeline.execute() == [SECRET.encode()]

        with tracing.span("work"):
            await store.run(both)
    assert spans.tree == ["work", "  SET", "  PIPELINE"]
    assert SECRET not in spans.text
