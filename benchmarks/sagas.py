"""Sagas of three steps against the same in DBOS, and against their bare transactions.

    copier copy "$PWD" /tmp/project --defaults -d project_name=Project
    cd /tmp/project && uv sync && uv pip install dbos
    uv run --project /tmp/project --no-sync python benchmarks/sagas.py /tmp/project

Each saga writes a row, calls a service that answers at once, and writes another row. All sides run
in this process, on one embedded server that waits for its disk, and have as many connections as
they want: ours with one worker, DBOS with a database of its own and steps that commit apart from
their records, the bare side without any record. Eight sagas are started at a time; ours and DBOS
run as many as are under way, and a round ends when the last saga has. The sides take turns, and the
median of the rounds counts. Without `dbos` that side is left out.
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
import argparse
import asyncio
import importlib
import itertools
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from pydantic import BaseModel
from sqlalchemy import text

Side = Callable[[int], Awaitable[None]]
LANES = 8
POOL = 24
INSERT = text("INSERT INTO benchmark (note) VALUES (:note)")
COUNTER = itertools.count()


class Order(BaseModel):
    """What a saga is started with."""

    number: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--sagas", type=int, default=100, help="how many a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    [data_layer] = given.project.glob("src/*/data_layer")
    sys.path.insert(0, str(given.project / "src"))
    name = f"{data_layer.parent.name}.data_layer"
    parts = ("database", "sagas", "sagas.models", "devservers.postgresql")
    database, sagas, models, servers = (importlib.import_module(f"{name}.{one}") for one in parts)
    with servers.embedded_server() as server:
        url = server.url.render_as_string(hide_password=False)
        pid = int((server.data / "postmaster.pid").read_text().split()[0])
        clock = partial(used, psutil.Process(pid))
        asyncio.run(measure((database, sagas, models), url, clock, given.sagas, given.rounds))


def used(postmaster: psutil.Process) -> float:
    """Seconds of processor time that this process and the server have taken."""
    server = [process.cpu_times() for process in (postmaster, *postmaster.children())]
    return time.process_time() + float(sum(one.user + one.system for one in server))


async def measure(
    parts: tuple[Any, Any, Any], url: str, clock: Callable[[], float], number: int, rounds: int
) -> None:
    layer, sagas, models = parts
    plain = url.replace("postgresql+psycopg", "postgresql")
    settings = layer.DatabaseSettings(_env_file=None, url=plain, pool_size=POOL, max_overflow=0)
    async with layer.Database.open(settings) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(models.Own.metadata.create_all)
            await connection.execute(text("CREATE TABLE benchmark (note text)"))
        stop = asyncio.Event()
        sides: dict[str, Side] = {"bare": bare(database), "ours": ours(database, sagas, models)}
        worker = asyncio.create_task(sagas.run_worker(database, stop))
        if (dbos := of_dbos(plain)) is not None:
            sides["dbos"] = dbos
        rates: dict[str, list[float]] = {side: [] for side in sides}
        costs: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, run in sides.items():
                await run(5)
                begun, before = time.perf_counter(), clock()
                await run(number)
                rates[side].append(number / (time.perf_counter() - begun))
                costs[side].append((clock() - before) / number * 1000)
        stop.set()
        await worker
    for side in sides:
        print(
            f"{side}: {median(rates[side]):6.1f} sagas a second, {median(costs[side]):5.1f} ms of "
            "processor time each, the server's included"
        )
    if "dbos" in sides:
        ratio = median(a / b for a, b in zip(rates["ours"], rates["dbos"], strict=True))
        cost = median(a / b for a, b in zip(costs["ours"], costs["dbos"], strict=True))
        print(f"ours to dbos: {ratio:.2f} of the rate, {cost:.2f} of the processor time")


async def call() -> None:
    """The service, which answers at once."""
    await asyncio.sleep(0)


async def in_lanes(number: int, one: Callable[[], Awaitable[None]]) -> None:
    """Do it so often, as many at a time as there are lanes."""
    turns = iter(range(number))

    async def lane() -> None:
        for _ in turns:
            await one()

    await asyncio.gather(*(lane() for _ in range(LANES)))


def bare(database: Any) -> Side:
    async def one() -> None:
        for _ in range(2):
            async with database.transaction() as session:
                await session.execute(INSERT, {"note": "bare"})
        await call()

    return lambda number: in_lanes(number, one)


def ours(database: Any, sagas: Any, models: Any) -> Side:
    saga = sagas.Saga("benchmark.order", Order)

    async def write(session: Any, _: Any) -> None:
        await session.execute(INSERT, {"note": "ours"})

    async def first(session: Any, given: Any) -> None:
        await write(session, given)

    async def ask(_: Any) -> None:
        await call()

    done = 0

    async def last(session: Any, given: Any) -> None:
        nonlocal done
        await write(session, given)
        done += 1

    saga.local(undo=write)(first)
    saga.remote(undo=ask)(ask)
    saga.local(undo=sagas.Undo.IMPOSSIBLE)(last)
    active = text("SELECT count(*) FROM sagas WHERE status = 'active'")

    async def start() -> None:
        async with database.transaction() as session:
            key = next(COUNTER)
            await saga.start(session, Order(number=key), key=str(key))

    async def run(number: int) -> None:
        nonlocal done
        done = 0
        await in_lanes(number, start)
        while done < number:
            await asyncio.sleep(0.002)
        while True:
            async with database.read_only() as session:
                if not await session.scalar(active):
                    return
            await asyncio.sleep(0.002)

    return run


def of_dbos(url: str) -> Side | None:
    """The same in DBOS, or None where it is not installed."""
    with suppress(ImportError):
        import psycopg
        from dbos import DBOS, DBOSConfig

        async_engine = importlib.import_module("sqlalchemy.ext.asyncio").create_async_engine(
            url.replace("postgresql://", "postgresql+psycopg://"), pool_size=POOL, max_overflow=0
        )
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE dbos_system")
        config: DBOSConfig = {
            "name": "benchmark",
            "system_database_url": url.rsplit("/", 1)[0] + "/dbos_system",
            "sys_db_pool_size": POOL,
            "log_level": "ERROR",
        }
        DBOS(config=config)

        @DBOS.step()
        async def write() -> None:
            async with async_engine.begin() as connection:
                await connection.execute(INSERT, {"note": "dbos"})

        @DBOS.step()
        async def ask() -> None:
            await call()

        @DBOS.workflow()
        async def order() -> None:
            await write()
            await ask()
            await write()

        DBOS.launch()

        async def one() -> None:
            await (await DBOS.start_workflow_async(order)).get_result()

        return lambda number: in_lanes(number, one)
    return None


if __name__ == "__main__":
    main()
