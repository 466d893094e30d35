"""Exports and queries of a rendered project against DuckDB alone, side by side.

    copier copy --data modules='["duckdb"]' . /tmp/project && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/duckdb_exports.py /tmp/project [--rows N …]

It starts the project's embedded PostgreSQL and fills a table of 60 months. Each export runs in a
process of its own, which tells its peak memory: ours, and two of DuckDB alone with the same
threads, memory limit, compression and row groups, which are COPY of the whole table into one file
sorted by time, and into the files that ours makes, by PARTITION_BY. Only the ratios say something:
the sides take turns, and the best round of each counts. With `--period year` there are 5 files
instead of 60.
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
import argparse
import asyncio
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from pydantic import SecretStr

THREADS = 2
MEMORY = "512MB"
FILL = """
CREATE TABLE ticks (moment timestamptz, instrument bigint, price numeric(12, 4), quantity bigint);
INSERT INTO ticks
SELECT timestamptz '2020-01-01' + n * (interval '1825 days' / {rows}), n % 10,
       (random() * 1000)::numeric(12, 4), n
FROM generate_series(0, {rows} - 1) AS n;
CREATE INDEX ON ticks (moment);
VACUUM ANALYZE ticks;
"""
QUERY = (
    "SELECT instrument, year(moment) AS year, avg(price) AS price, sum(quantity) AS quantity"
    " FROM ticks GROUP BY ALL ORDER BY ALL"
)


def package(project: Path) -> str:
    [data_layer] = project.glob("src/*/data_layer")
    sys.path.insert(0, str(project / "src"))
    return f"{data_layer.parent.name}.data_layer"


def settings(duckdb_module: Any, folder: Path) -> Any:
    return duckdb_module.DuckDBSettings(
        _env_file=None, lake=folder, readable=(), threads=THREADS, memory_limit=MEMORY
    )


def declare(duckdb_module: Any, period: str) -> Any:
    sqlalchemy = importlib.import_module("sqlalchemy")
    select = sqlalchemy.text("SELECT * FROM ticks")
    return duckdb_module.Export("ticks", select, time="moment", period=period)


async def ours(name: str, url: str, folder: Path, period: str) -> int:
    duckdb_module = importlib.import_module(f"{name}.duckdb")
    database_package = importlib.import_module(f"{name}.database")
    database_settings = database_package.DatabaseSettings(_env_file=None, url=SecretStr(url))
    lake = duckdb_module.Lake(settings(duckdb_module, folder))
    async with database_package.Database.open(database_settings) as database:
        done = await duckdb_module.export(database, lake, declare(duckdb_module, period))
    return int(done.rows)


def duckdb_alone(side: str, name: str, url: str, folder: Path, period: str) -> int:
    files = {
        "one": f"(SELECT * FROM source.ticks ORDER BY moment) TO '{folder}/one.parquet' (",
        "parted": f"(SELECT *, date_trunc('{period}', moment) AS part FROM source.ticks"
        f" ORDER BY moment) TO '{folder}' (PARTITION_BY part, ",
    }
    extension = importlib.import_module(f"{name}.duckdb.extension")
    duckdb_module = importlib.import_module(f"{name}.duckdb")
    connection = duckdb.connect(config={"threads": str(THREADS), "memory_limit": MEMORY})
    extension.load(connection, settings(duckdb_module, folder))
    connection.execute(f"SET temp_directory = '{folder}'")
    connection.execute(f"ATTACH '{url}' AS source (TYPE postgres, READ_ONLY)")
    done = connection.execute(
        f"COPY {files[side]}FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)"
    ).fetchone()
    return int(done[0]) if done else 0


def child(side: str, name: str, url: str, folder: Path, period: str) -> None:
    for module in ("duckdb", "database"):  # what is imported is not what is measured
        importlib.import_module(f"{name}.{module}")
    begin = time.perf_counter()
    if side == "ours":
        rows = asyncio.run(ours(name, url, folder, period))
    else:
        rows = duckdb_alone(side, name, url, folder, period)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "megabytes": peak}))


def run(project: Path, side: str, url: str, folder: Path, period: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, project, "--side", side, "--folder", folder, "--period", period],
        check=True,
        input=url,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(project: Path, name: str, url: str, rows: int, rounds: int, period: str) -> None:
    best: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        for side in ("one", "parted", "ours"):
            with tempfile.TemporaryDirectory() as folder:
                found = run(project, side, url, Path(folder), period)
                assert found["rows"] == rows
                if number == rounds - 1 and side == "ours" and rows <= 1_000_000:
                    query(name, Path(folder), rounds, period)
            if side not in best or found["seconds"] < best[side]["seconds"]:
                best[side] = found
    for side, found in best.items():
        print(
            f"export of {rows:>10,} rows, {side:6}: {rows / found['seconds']:>9,.0f} rows/s, "
            f"peak {found['megabytes']:,.0f} MB"
        )
    for side in ("one", "parted"):
        ratio = best[side]["seconds"] / best["ours"]["seconds"]
        print(f"  ratio of rows a second to {side:6}: {ratio:.2f}")


def query(name: str, folder: Path, rounds: int, period: str) -> None:
    duckdb_module = importlib.import_module(f"{name}.duckdb")
    declared = declare(duckdb_module, period)
    lake = duckdb_module.Lake(settings(duckdb_module, folder))
    connection = duckdb.connect(config={"threads": str(THREADS), "memory_limit": MEMORY})
    connection.execute(f"CREATE VIEW ticks AS FROM read_parquet('{folder}/*.parquet')")
    seconds = {"plain": float("inf"), "ours": float("inf")}
    with duckdb_module.analysis(lake, only=[declared]) as opened:
        for _ in range(rounds * 10):
            for side, work in (("plain", connection.execute), ("ours", opened.query)):
                begin = time.perf_counter()
                work(QUERY).fetchall()
                seconds[side] = min(seconds[side], time.perf_counter() - begin)
    files = len(list(folder.glob("*.parquet")))
    print(
        f"query over {files} files: plain {seconds['plain'] * 1e3:.1f} ms, ours "
        f"{seconds['ours'] * 1e3:.1f} ms, ratio {seconds['ours'] / seconds['plain']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("project", type=Path, help="a rendered project, installed by uv sync")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--period", default="month", choices=["month", "year"], help="of a file")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    project = arguments.project.resolve()
    name = package(project)
    if arguments.side:
        child(arguments.side, name, sys.stdin.read(), arguments.folder, arguments.period)
        return
    embedded = importlib.import_module(f"{name}.devservers.postgresql")
    with embedded.embedded_server(durable=False) as server:
        url = server.url.set(drivername="postgresql").render_as_string(hide_password=False)
        for rows in arguments.rows:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DROP TABLE IF EXISTS ticks")
                for statement in FILL.format(rows=rows).split(";\n"):
                    if statement.strip():
                        connection.execute(statement.encode())
            measure(project, name, url, rows, arguments.rounds, arguments.period)


if __name__ == "__main__":
    main()
