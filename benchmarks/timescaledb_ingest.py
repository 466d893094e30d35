"""COPY into a hypertable of a rendered project against the bare driver's COPY, side by side.

    copier copy "$PWD" /tmp/project -d 'modules=[timescaledb]' && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/timescaledb_ingest.py /tmp/project URL

URL names a server with TimescaleDB on which databases may be created. Both sides write the same
rows into one empty hypertable, in turns, each over a connection that is open already and in a
transaction that is committed; the best round of each counts. At least 0.9 is wanted.
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,misc"
import argparse
import asyncio
import importlib
import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import BigInteger, Column, DateTime, Double, MetaData, Table, text

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = """
CREATE EXTENSION IF NOT EXISTS timescaledb;
CREATE TABLE readings (
    station bigint NOT NULL, taken_at timestamptz NOT NULL, value float8, rain float8
);
SELECT create_hypertable('readings', by_range('taken_at', INTERVAL '1 day'),
    create_default_indexes => false)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    [data_layer] = given.project.glob("src/*/data_layer")
    sys.path.insert(0, str(given.project / "src"))
    layer = importlib.import_module(f"{data_layer.parent.name}.data_layer.database")
    name = f"benchmark_{secrets.token_hex(4)}"
    own = given.url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(given.url, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with psycopg.connect(own, autocommit=True) as connection:
                connection.execute(TABLE)
            asyncio.run(measure(layer, own, given.rows, given.rounds))
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def measure(layer: Any, url: str, count: int, rounds: int) -> None:
    rows = [(n % 50, BEGIN + timedelta(seconds=n), n / 7, n / 3) for n in range(count)]
    table = Table(
        "readings",
        MetaData(),
        Column("station", BigInteger),
        Column("taken_at", DateTime(timezone=True)),
        Column("value", Double),
        Column("rain", Double),
    )
    settings = layer.DatabaseSettings(_env_file=None, url=SecretStr(url), statement_timeout=0)
    seconds = {"driver": float("inf"), "layer": float("inf")}
    async with (
        layer.Database.open(settings) as database,
        await psycopg.AsyncConnection.connect(url) as connection,
    ):
        async with database.transaction() as session:
            await session.execute(text("SELECT 1"))

        async def by_the_layer() -> None:
            async with database.transaction() as session:
                await layer.copy_in(session, table, rows)

        async def by_the_driver() -> None:
            await copy(connection, rows)
            await connection.commit()

        for _ in range(rounds):
            for side, work in (("driver", by_the_driver), ("layer", by_the_layer)):
                await connection.execute("TRUNCATE readings")
                await connection.commit()
                begin = time.perf_counter()
                await work()
                seconds[side] = min(seconds[side], time.perf_counter() - begin)
    for side, took in seconds.items():
        print(f"{side:<7} {count / took:>12,.0f} rows/s")
    print(f"ratio   {seconds['driver'] / seconds['layer']:>12.2f}")


async def copy(connection: psycopg.AsyncConnection[Any], rows: list[tuple[Any, ...]]) -> None:
    async with (
        connection.cursor() as cursor,
        cursor.copy("COPY readings FROM STDIN (FORMAT BINARY)") as target,
    ):
        target.set_types(["int8", "timestamptz", "float8", "float8"])
        for row in rows:
            await target.write_row(row)


if __name__ == "__main__":
    main()
