"""The database part of a rendered project against the bare driver, side by side.

    copier copy "$PWD" /tmp/project && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/bulk.py /tmp/project [--rows N] [--rounds N]

It starts the project's embedded PostgreSQL, fills tables of its own, and prints ratios; the server
and its data disappear at the end. Only the ratios say something: both sides run in turns on the
same server, and the best round of each counts. "COPY in" compares rows a second (1.00 is as fast
as psycopg, more is faster); the rows of the ORM compare the time of one operation (1.0 is the
driver's).
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,misc"
import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from pydantic import SecretStr
from sqlalchemy import BigInteger, Double, MetaData, Numeric, SmallInteger, select, text
from sqlalchemy.orm import Mapped, mapped_column

CONCURRENCY = 8

Work = Callable[[], Awaitable[Any]]


def layer(project: Path) -> Any:
    """The package `data_layer.database` of the project, and its `devservers.postgresql`."""
    [data_layer] = project.glob("src/*/data_layer")
    sys.path.insert(0, str(project / "src"))
    name = f"{data_layer.parent.name}.data_layer"
    return (
        importlib.import_module(f"{name}.database"),
        importlib.import_module(f"{name}.devservers.postgresql"),
    )


async def best(rounds: int, **sides: Work) -> dict[str, float]:
    """Seconds of the best round of each side, the sides taking turns."""
    seconds = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, work in sides.items():
            begin = time.perf_counter()
            await work()
            seconds[name] = min(seconds[name], time.perf_counter() - begin)
    return seconds


async def measure(database_package: Any, url: Any, rows: int, rounds: int) -> None:
    class Model(database_package.Base):
        __abstract__ = True
        metadata = MetaData()

    class Tick(Model):
        """What a feed sends: no column needs a second look."""

        __tablename__ = "tick"
        at: Mapped[datetime] = mapped_column(primary_key=True)
        symbol: Mapped[str]
        bid: Mapped[float] = mapped_column(Double)
        ask: Mapped[float] = mapped_column(Double)

    class Fill(Model):
        """Of every kind; the range of its integers is checked, which the driver doesn't do."""

        __tablename__ = "fill"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        order: Mapped[UUID]
        side: Mapped[int] = mapped_column(SmallInteger)
        price: Mapped[Decimal] = mapped_column(Numeric(18, 8))
        quantity: Mapped[int] = mapped_column(BigInteger)
        at: Mapped[datetime]
        venue: Mapped[str]
        maker: Mapped[bool]

    begin = datetime(2026, 1, 1, tzinfo=UTC)
    data: dict[Any, list[tuple[Any, ...]]] = {
        Tick: [
            (begin + timedelta(milliseconds=number), "BTCUSDT", number * 0.5, number * 0.6)
            for number in range(rows)
        ],
        Fill: [
            (
                number,
                UUID(int=number),
                number % 2,
                Decimal(number) / 8,
                number,
                begin,
                "binance",
                number % 3 == 0,
            )
            for number in range(rows)
        ],
    }
    types = {
        Tick: ["timestamptz", "text", "float8", "float8"],
        Fill: ["int4", "uuid", "int2", "numeric", "int8", "timestamptz", "text", "bool"],
    }
    secret = url.render_as_string(hide_password=False)
    settings = database_package.DatabaseSettings(_env_file=None, url=SecretStr(secret))
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with (
        database_package.Database.open(settings) as database,
        await psycopg.AsyncConnection.connect(plain) as driver,
    ):
        async with database.transaction() as session:
            await (await session.connection()).run_sync(Model.metadata.create_all)
        for model, tuples in data.items():
            await measure_copy(
                database_package, database, driver, model, tuples, types[model], rounds
            )
        await measure_orm(database, plain, Fill, rounds)


async def measure_copy(
    database_package: Any,
    database: Any,
    driver: Any,
    model: Any,
    rows: list[tuple[Any, ...]],
    types: list[str],
    rounds: int,
) -> None:
    table = model.__tablename__
    columns = [column.name for column in model.__table__.columns]
    quoted = ", ".join(f'"{column}"' for column in columns)

    async def raw_in() -> None:
        async with driver.transaction(), driver.cursor() as cursor:
            await cursor.execute(f"TRUNCATE {table}")
            async with cursor.copy(f"COPY {table} ({quoted}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(types)
                for row in rows:
                    await copy.write_row(row)

    async def layer_in() -> None:
        async with database.transaction() as session:
            await session.execute(text(f"TRUNCATE {table}"))
            await database_package.copy_in(session, model, rows)

    seconds = await best(rounds, raw=raw_in, layer=layer_in)
    print(
        f"COPY in {table}: driver {len(rows) / seconds['raw']:>9,.0f} rows/s, "
        f"layer {len(rows) / seconds['layer']:>9,.0f} rows/s, "
        f"ratio {seconds['raw'] / seconds['layer']:.2f}"
    )


async def measure_orm(database: Any, plain: str, model: Any, rounds: int) -> None:
    operations = 400
    connections = [await psycopg.AsyncConnection.connect(plain) for _ in range(CONCURRENCY)]

    def at_once(work: Callable[[int, int], Awaitable[Any]]) -> Work:
        async def worker(number: int) -> None:
            for index in range(operations // CONCURRENCY):
                await work(number, index * CONCURRENCY + number)

        return lambda: asyncio.gather(*(worker(number) for number in range(CONCURRENCY)))

    async def raw_get(number: int, key: int) -> None:
        async with connections[number].transaction():
            found = await connections[number].execute("SELECT * FROM fill WHERE id = %s", [key])
            await found.fetchone()

    async def orm_get(number: int, key: int) -> None:
        async with database.transaction() as session:
            await session.get_one(model, key)

    async def core_get(number: int, key: int) -> None:
        async with database.transaction() as session:
            (await session.execute(select(model.__table__).where(model.id == key))).one()

    async def raw_update(number: int, key: int) -> None:
        async with connections[number].transaction():
            await connections[number].execute(
                "UPDATE fill SET quantity = quantity + 1 WHERE id = %s", [key]
            )

    async def orm_update(number: int, key: int) -> None:
        async with database.transaction() as session:
            (await session.get_one(model, key)).quantity += 1

    for label, sides in (
        ("get", {"raw": raw_get, "ORM": orm_get, "Core": core_get}),
        ("update", {"raw": raw_update, "ORM": orm_update}),
    ):
        seconds = await best(rounds, **{name: at_once(work) for name, work in sides.items()})
        ratios = ", ".join(
            f"{name} {seconds[name] / seconds['raw']:.1f}" for name in sides if name != "raw"
        )
        each = seconds["raw"] / operations * 1e6
        print(f"one row, {CONCURRENCY} at once, {label}: driver 1.0 ({each:,.0f} µs), {ratios}")
    for connection in connections:
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("project", type=Path, help="a rendered project, installed by uv sync")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    database_package, embedded = layer(arguments.project.resolve())
    with embedded.embedded_server(durable=False) as server:
        asyncio.run(measure(database_package, server.url, arguments.rows, arguments.rounds))


if __name__ == "__main__":
    main()
