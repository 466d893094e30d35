"""What a route costs through the layer, against the same route of a bare FastAPI and SQLAlchemy.

    copier copy "$PWD" /tmp/project --defaults -d project_name=Project && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/route.py /tmp/project

Both routes make one query in a transaction and answer with its row. Ours has what `create_api`
brings beside it: timeouts, problems, metrics. The applications are called within the process,
without a server or a client, so that nothing but them is measured; the sides take turns, and what
counts is the processor time of a request. The program exits with 1 where ours is below 0.9 of the
bare one.
"""

import argparse
import asyncio
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

LIMIT = 0.9
QUERY = "SELECT id, name FROM entities WHERE id = :id"


def bare(url: Any, sqlalchemy: Any) -> Any:
    from fastapi import FastAPI
    from pydantic import BaseModel
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

    class Entity(BaseModel):
        id: int
        name: str

    engine = create_async_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    app = FastAPI()

    @app.get("/entities/{key}")
    async def read(key: int) -> Entity:
        async with sessions() as session, session.begin():
            row = (await session.execute(sqlalchemy.text(QUERY), {"id": key})).one()
        return Entity(id=row.id, name=row.name)

    return app


def ours(name: str, settings: Any, sqlalchemy: Any) -> Any:
    from pydantic import BaseModel

    http = importlib.import_module(f"{name}.http")

    class Entity(BaseModel):
        id: int
        name: str

    app = http.create_api("ours", settings=settings)

    @app.get("/entities/{key}")
    async def read(key: int, database: http.DatabaseDependency) -> Entity:
        async with database.transaction() as session:
            row = (await session.execute(sqlalchemy.text(QUERY), {"id": key})).one()
        return Entity(id=row.id, name=row.name)

    return app


async def call(app: Any) -> None:
    """One request, as a server hands it to the application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/entities/1",
        "raw_path": b"/entities/1",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    assert statuses == [200], statuses


async def measure(applications: Mapping[str, Any], *, calls: int, rounds: int) -> float:
    spent: dict[str, list[float]] = {side: [] for side in applications}
    for _ in range(rounds):
        for side, app in applications.items():
            await call(app)
            begun = time.process_time()
            for _ in range(calls):
                await call(app)
            spent[side].append((time.process_time() - begun) / calls)
    for side, seconds in spent.items():
        print(f"{side:<5} {median(seconds) * 1e6:7.0f} µs of processor time a request")
    floor, mine = spent.values()
    ratio = median(plain / own for plain, own in zip(floor, mine, strict=True))
    print(f"ratio {ratio:.2f}")
    return ratio


async def run(name: str, url: Any, calls: int, rounds: int) -> float:
    sqlalchemy: Any = importlib.import_module("sqlalchemy")
    database = importlib.import_module(f"{name}.database")
    settings = database.DatabaseSettings(
        _env_file=None, url=url.render_as_string(hide_password=False)
    )
    async with database.Database.open(settings) as opened, opened.transaction() as session:
        await session.execute(sqlalchemy.text("CREATE TABLE entities (id bigint, name text)"))
        await session.execute(sqlalchemy.text("INSERT INTO entities VALUES (1, 'one')"))
    plain, own = bare(url, sqlalchemy), ours(name, settings, sqlalchemy)
    async with own.router.lifespan_context(own):
        return await measure({"bare": plain, "ours": own}, calls=calls, rounds=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=41)
    given = parser.parse_args()
    os.chdir(given.project)
    [package] = (path.parent.name for path in Path().glob("src/*/data_layer"))
    name = f"{package}.data_layer"
    servers = importlib.import_module(f"{name}.devservers.postgresql")
    serve: Callable[..., Any] = servers.embedded_server
    with serve(durable=False) as server:
        ratio = asyncio.run(run(name, server.url, given.calls, given.rounds))
    sys.exit(ratio < LIMIT)


if __name__ == "__main__":
    main()
