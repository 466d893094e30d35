"""Upsert into columnar chunks of a rendered project against a plain INSERT … ON CONFLICT.

    copier copy "$PWD" /tmp/project -d 'modules=[timescaledb]' && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/timescaledb_upsert.py /tmp/project URL

URL names a server with TimescaleDB on this very machine, a Linux, on which databases may be
created. The hypertable has chunks of a day, all columnar. Both sides bring the same rows into
two of them, one half new and the other changed, by COPY into a temporary table and from there;
each in a transaction that is rolled back, in turns. The processor time of the client and of its
session of the server is summed up. The layer may take 1.5 of the plain side's, and what is
stored beside those chunks may not matter: 1.5 again between the smaller and the larger table.
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
A_DAY = 20_000
TABLE = f"""
CREATE EXTENSION IF NOT EXISTS timescaledb;
CREATE TABLE readings (
    station bigint, taken_at timestamptz, value float8, PRIMARY KEY (station, taken_at)
);
SELECT create_hypertable('readings', by_range('taken_at', INTERVAL '1 day'),
    create_default_indexes => false);
ALTER TABLE readings SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'station');
INSERT INTO readings SELECT n % 50, at + n * interval '1 second', n / 7.0
    FROM generate_series(0, {A_DAY - 1}) AS n,
    generate_series(timestamptz '{BEGIN}', '{BEGIN}'::timestamptz + {{days}} * interval '1 day'
        - interval '1 second', '1 day') AS at;
SELECT compress_chunk(chunk) FROM show_chunks('readings') AS chunk;
"""
STAGING = "CREATE TEMP TABLE staging ON COMMIT DROP AS SELECT * FROM readings WITH NO DATA"
PLAIN = """
INSERT INTO readings SELECT * FROM staging ORDER BY station, taken_at
ON CONFLICT (station, taken_at) DO UPDATE SET value = excluded.value
"""
WANTED = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    [data_layer] = given.project.glob("src/*/data_layer")
    sys.path.insert(0, str(given.project / "src"))
    layer = importlib.import_module(f"{data_layer.parent.name}.data_layer.database")
    found: dict[int, dict[int, float]] = {}
    missed = False
    for days in (5, 40):
        name = f"benchmark_{secrets.token_hex(4)}"
        own = given.url.rpartition("/")[0] + f"/{name}"
        with psycopg.connect(given.url, autocommit=True) as server:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                with psycopg.connect(own, autocommit=True) as connection:
                    for statement in TABLE.format(days=days).split(";"):
                        connection.execute(statement.encode())
                for count in (1_000, 10_000, 40_000):
                    plain, ours = asyncio.run(measure(layer, own, count, given.rounds))
                    found.setdefault(count, {})[days] = ours
                    missed |= ours > WANTED * plain
                    print(
                        f"{days * A_DAY:>9,} rows stored, {count:>6,} written: "
                        f"plain {plain:.3f} s, layer {ours:.3f} s, ratio {ours / plain:.2f}"
                    )
            finally:
                server.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )
    for count, seconds in found.items():
        small, large = seconds.values()
        missed |= large > WANTED * small
        print(f"{count:>6,} written: eight times the rows stored take {large / small:.2f}")
    sys.exit(missed)


def spent(server: int) -> float:
    """Processor time of this process and of a session of the server, in seconds."""
    nanoseconds = Path(f"/proc/{server}/schedstat").read_text("ascii").split()[0]
    return time.process_time() + int(nanoseconds) / 1e9


async def measure(layer: Any, url: str, count: int, rounds: int) -> tuple[float, float]:
    day = BEGIN + timedelta(days=1)
    step = 2 * A_DAY // count
    # Of two days, every other row with a time of its own.
    rows = [
        (
            n * step % 50,
            day + timedelta(days=n * step // A_DAY, seconds=n * step % A_DAY, milliseconds=n % 2),
            -1.0,
        )
        for n in range(count)
    ]
    table = Table(
        "readings",
        MetaData(),
        Column("station", BigInteger, primary_key=True),
        Column("taken_at", DateTime(timezone=True), primary_key=True),
        Column("value", Double),
    )
    settings = layer.DatabaseSettings(_env_file=None, url=SecretStr(url), statement_timeout=0)
    seconds = {"plain": 0.0, "layer": 0.0}
    async with (
        layer.Database.open(settings) as database,
        await psycopg.AsyncConnection.connect(url) as connection,
    ):
        limit = "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
        await connection.execute(limit)

        async def by_the_layer() -> float:
            async with database.transaction() as session:
                server = await session.scalar(text("SELECT pg_backend_pid()"))
                begin = spent(server)
                done = await layer.upsert(session, table, rows, key=["station", "taken_at"])
                took = spent(server) - begin
                assert (done.inserted, done.updated) == (count // 2, count // 2)
                await session.rollback()
            return took

        async def plainly() -> float:
            server = connection.info.backend_pid
            begin = spent(server)
            async with connection.cursor() as cursor:
                await cursor.execute(STAGING)
                async with cursor.copy("COPY staging FROM STDIN (FORMAT BINARY)") as target:
                    target.set_types(["int8", "timestamptz", "float8"])
                    for row in rows:
                        await target.write_row(row)
                await cursor.execute(PLAIN)
            took = spent(server) - begin
            await connection.rollback()
            return took

        for _ in range(rounds):
            for side, work in (("plain", plainly), ("layer", by_the_layer)):
                seconds[side] += await work() / rounds
    return seconds["plain"], seconds["layer"]


if __name__ == "__main__":
    main()
