"""Exports: whole, new rows only, one snapshot, and nothing half after a crash."""

import asyncio
import errno
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, text

from my_project.data_layer.atomic import NotWritten
from my_project.data_layer.duckdb import (
    DuckDBError,
    Export,
    Lake,
    Progress,
    analysis,
    declarations,
)
from my_project.data_layer.duckdb.columns import plan
from my_project.data_layer.duckdb.reader import Reader, reading
from tests.layer import PATIENCE
from tests.layer.duckdb.conftest import Source, settings

# The package has a function of this name.
exporting = importlib.import_module("my_project.data_layer.duckdb.export")

Fill = Callable[[str, str, str], None]
Names = Callable[[], list[str]]

TICKS = text("SELECT moment, n, price FROM ticks")


def declare(**options: object) -> Export:
    declarations._declared.clear()
    return Export("ticks", TICKS, time="moment", source="desk", **options)  # type: ignore[arg-type]


def content(lake: Lake, declared: Export) -> list[int]:
    with analysis(lake, only=[declared]) as opened:
        return [row[0] for row in opened.query("SELECT n FROM ticks").fetchall()]


@pytest.mark.standard("DL-DU-05")
async def test_one_sorted_file_for_each_month(
    source: Source, lake: Lake, ticks: Fill, names: Names
) -> None:
    ticks("2023-11-20", "2024-02-10", "1 hour")
    ticks("2025-01-01", "2025-01-02", "1 hour")  # a gap makes no files
    told: list[Progress] = []
    declared = declare(order_by=["price", "moment"])
    done = await source.export(lake, declared, progress=told.append)
    assert names() == [
        "desk_ticks_tick_20231101_20231130.parquet",
        "desk_ticks_tick_20231201_20231231.parquet",
        "desk_ticks_tick_20240101_20240131.parquet",
        "desk_ticks_tick_20240201_20240229.parquet",
        "desk_ticks_tick_20250101_20250131.parquet",
    ]
    [(rows,)] = source.run("SELECT count(*) FROM ticks")
    assert done.rows == done.read == rows == told[-1].rows
    assert told[-1].done == 1
    expected = source.run("SELECT n FROM ticks ORDER BY date_trunc('month', moment), price, moment")
    assert content(lake, declared) == [n for (n,) in expected]


async def test_what_fails_in_a_period_fails_no_earlier_one(
    source: Source, tmp_path: Path, ticks: Fill, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(settings(tmp_path, threads=1))  # both periods want the same connection
    ticks("2024-01-01", "2024-03-01", "1 hour")
    source.run("UPDATE ticks SET price = 0 WHERE moment = '2024-02-01'")
    failing = text("SELECT moment, n / (price <> 0)::int AS n FROM ticks")
    declared = Export("failing", failing, time="moment", source="desk", asset="ticks")
    replacing = exporting.replacing

    def slowly(target: Path, *ready: Any) -> AbstractContextManager[Path]:
        if "_20240101_" in target.name:
            time.sleep(0.5)  # meanwhile February would fail
        kept: AbstractContextManager[Path] = replacing(target, *ready)
        return kept

    monkeypatch.setattr(exporting, "replacing", slowly)
    with pytest.raises(DuckDBError, match="stopped: division by zero"):
        await source.export(lake, declared)
    assert names() == ["desk_ticks_tick_20240101_20240131.parquet"]


async def test_no_file_has_its_name_before_the_values_are_looked_at(
    source: Source, lake: Lake, ticks: Fill, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks("2024-01-01", "2024-05-01", "1 day")
    named: list[str] = []

    def slowly(*_: Any) -> str:
        deadline = time.monotonic() + PATIENCE
        while sum(name.endswith(".part") for name in names()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        named.extend(name for name in names() if name.endswith(".parquet"))
        return "a value of n is odd"

    monkeypatch.setattr(Reader, "lost", slowly)
    with pytest.raises(DuckDBError, match=r"a value of n is odd\. Nothing is written"):
        await source.export(lake, declare())
    assert named == names() == []


async def test_files_are_made_for_scans(source: Source, tmp_path: Path, ticks: Fill) -> None:
    ticks("2024-01-01", "2024-01-10", "1 minute")
    lake = Lake(settings(tmp_path, row_group_size=4096))
    await source.export(lake, declared := declare())
    [file] = lake.files(declared)
    groups = duckdb.sql(
        "SELECT row_group_num_rows, compression, stats_min_value, stats_max_value"
        f" FROM parquet_metadata('{file.path}') WHERE path_in_schema = 'n' ORDER BY row_group_id"
    ).fetchall()
    assert [rows for rows, *_ in groups] == [4096, 4096, 4096, 673]
    assert {compression for _, compression, *_ in groups} == {"ZSTD"}
    bounds = [(int(low), int(high)) for *_, low, high in groups]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize("order_by", [(), ("price", "moment")])
async def test_only_new_rows_are_read(
    source: Source, lake: Lake, ticks: Fill, order_by: tuple[str, ...]
) -> None:
    ticks("2024-01-01", "2024-02-15", "1 hour")
    declared = declare(order_by=order_by)
    await source.export(lake, declared)
    old = {file.path: file.path.stat().st_mtime_ns for file in lake.files(declared)}
    nothing = await source.export(lake, declared)
    assert (nothing.files, nothing.read) == ((), 0)

    ticks("2024-02-15 01:00", "2024-03-02", "1 hour")
    [(rows,)] = source.run("SELECT count(*) FROM ticks WHERE moment > '2024-02-15'")
    done = await source.export(lake, declared)
    # The newest exported moment is asked for again: more rows may have its time.
    assert done.read == rows + 1
    assert [path.name[-16:-8] for path in done.files] == ["20240229", "20240331"]
    january = lake.files(declared)[0].path
    assert january.stat().st_mtime_ns == old[january]
    order = ", ".join(order_by) or "moment"
    expected = source.run(f"SELECT n FROM ticks ORDER BY date_trunc('month', moment), {order}")
    assert content(lake, declared) == [n for (n,) in expected]


async def test_rows_of_the_newest_moment_that_came_later(source: Source, lake: Lake) -> None:
    source.run(
        "CREATE TABLE ticks (moment date, n bigint, price numeric(12, 4))",
        "INSERT INTO ticks VALUES ('2024-01-01', 1, 1), ('2024-01-02', 2, 1)",
    )
    await source.export(lake, declared := declare())
    source.run("INSERT INTO ticks VALUES ('2024-01-02', 3, 1)")
    await source.export(lake, declared)
    assert sorted(content(lake, declared)) == [1, 2, 3]


async def test_late_rows_come_in_as_far_as_declared_or_asked_for(
    source: Source, lake: Lake, ticks: Fill
) -> None:
    ticks("2024-01-01", "2024-02-03", "1 day")
    declared = declare(late=timedelta(days=5))
    await source.export(lake, declared)
    source.run("INSERT INTO ticks VALUES ('2024-01-30 12:00Z', 1), ('2024-01-10 12:00Z', 2)")
    ticks("2024-02-04", "2024-02-05", "1 day")
    await source.export(lake, declared)
    found = content(lake, declared)
    assert 1 in found
    assert 2 not in found
    done = await source.export(lake, declared, since=date(2024, 1, 10))
    assert len(done.files) == 2
    assert sorted(content(lake, declared)) == [
        n for (n,) in source.run("SELECT n FROM ticks ORDER BY n")
    ]


async def test_a_file_never_loses_rows_unasked(source: Source, lake: Lake, ticks: Fill) -> None:
    ticks("2024-01-01", "2024-03-01", "1 day")
    await source.export(lake, declared := declare())
    before = content(lake, declared)
    # As a retention does: the oldest are gone, of one month in part.
    source.run("DELETE FROM ticks WHERE moment < '2024-02-10'")
    with pytest.raises(DuckDBError, match="has 29 rows, and the database only 20"):
        await source.export(lake, declared, since=date(2024, 1, 1))
    assert content(lake, declared) == before
    await source.export(lake, declared, since=date(2024, 1, 1), fewer=True)
    assert len(content(lake, declared)) == 31 + 20 + 1
    with pytest.raises(DuckDBError, match="would have a gap"):
        await source.export(lake, declared, since=date(2025, 1, 1))


async def test_until_leaves_the_rest_for_later(source: Source, lake: Lake, ticks: Fill) -> None:
    ticks("2024-01-01", "2024-02-20", "1 day")
    declared = declare()
    await source.export(lake, declared, until=date(2024, 2, 11))
    assert len(content(lake, declared)) == 31 + 10
    # Written again, the month is whole: nothing behind `until` gets lost.
    await source.export(lake, declared, since=date(2024, 2, 1), until=date(2024, 2, 5))
    assert len(content(lake, declared)) == 31 + 20
    await source.export(lake, declared)
    assert len(content(lake, declared)) == 31 + 20


async def test_all_files_are_of_one_moment(
    source: Source, lake: Lake, ticks: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that arrive during the export are in none of its files, whichever connection reads."""
    ticks("2024-01-01", "2024-12-31", "1 hour")
    share = Reader.share

    def arrive(reader: Reader, connections: int) -> list[duckdb.DuckDBPyConnection]:
        source.run("INSERT INTO ticks SELECT moment + interval '7 min', -1 FROM ticks")
        return share(reader, connections)

    monkeypatch.setattr(Reader, "share", arrive)
    await source.export(lake, declared := declare())
    assert min(content(lake, declared)) > 0


async def test_rows_without_a_place_are_refused(source: Source, lake: Lake, ticks: Fill) -> None:
    ticks("1001-01-01", "1001-01-02", "1 day")
    ticks("9998-12-31", "9998-12-31", "1 day")
    declared = declare(period="week")
    assert len((await source.export(lake, declared)).files) == 2
    for moment in ("infinity", "9999-01-01Z", "1000-12-31Z"):
        source.run(f"INSERT INTO ticks VALUES ('{moment}', 1)")
        with pytest.raises(DuckDBError, match="belong into no file"):
            await source.export(lake, declared)
        source.run("DELETE FROM ticks WHERE n = 1")


async def test_any_table_and_any_statement(source: Source, lake: Lake) -> None:
    source.run(
        'CREATE SCHEMA "Odd; one"',
        'CREATE TABLE "Odd; one"."a ""%s"" table\'s" (begin timestamp, "q""uo\'te" int, "*" text)',
        'INSERT INTO "Odd; one"."a ""%s"" table\'s" VALUES (\'2024-01-31 23:59\', 1, \'a%\'),'
        " ('2024-02-01', 2, 'b')",
    )
    table = Table(
        'a "%s" table\'s',
        MetaData(),
        Column("begin", DateTime),
        Column("q\"uo'te", Integer),
        Column("*", Text),
        schema="Odd; one",
    )
    declared = Export("odd", table, time="begin", order_by=["*", "q\"uo'te"])
    assert len((await source.export(lake, declared)).files) == 2
    assert (await source.export(lake, declared)).files == ()
    with analysis(lake, only=[declared]) as opened:
        assert opened.query('SELECT "*", "q""uo\'te" FROM odd').fetchall() == [
            ("a%", 1),
            ("b", 2),
        ]
    commented = Export(
        "commented",
        text(
            'WITH found AS (SELECT * FROM "Odd; one"."a ""%s"" table\'s")'
            " SELECT begin, \"*\" LIKE 'a%' AS yes FROM found -- all of it"
        ),
        time="begin",
    )
    assert (await source.export(lake, commented)).rows == 2


async def test_a_parameter_without_a_value_is_a_sentence(source: Source, lake: Lake) -> None:
    declared = Export("few", text("SELECT moment FROM ticks WHERE n < :most"), time="moment")
    with pytest.raises(DuckDBError, match=r"'most'\. Give the value by bindparams"):
        await source.export(lake, declared)


async def test_a_newest_file_that_is_none_is_named(source: Source, lake: Lake, ticks: Fill) -> None:
    ticks("2024-01-01", "2024-01-02", "1 day")
    declared = declare()
    await source.export(lake, declared)
    dropped = lake.path(declared, date(2024, 2, 1))
    dropped.write_bytes(b"no Parquet")
    with pytest.raises(DuckDBError, match=rf"{dropped.name} can't be read .* move it away"):
        await source.export(lake, declared)
    duckdb.sql("SELECT 1 AS other").write_parquet(str(dropped))
    with pytest.raises(DuckDBError, match=rf"{dropped.name} has no column moment"):
        await source.export(lake, declared)


async def test_a_server_that_dies_ends_the_export_and_not_the_process(
    source: Source, lake: Lake, ticks: Fill, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks("2024-01-01", "2024-05-01", "1 day")
    write = Reader.write

    def die(*arguments: Any) -> int:
        source.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name LIKE '%-duckdb'"
        )
        return write(*arguments)

    monkeypatch.setattr(Reader, "write", die)
    with pytest.raises(DuckDBError, match="The export ticks stopped"):
        await source.export(lake, declare())
    assert names() == []


async def test_a_disk_that_is_full_is_a_sentence(
    source: Source, lake: Lake, ticks: Fill, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks("2024-01-01", "2024-05-01", "1 day")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritten, match="can't be written: No space left on device"):
        await source.export(lake, declare())
    assert names() == []


async def test_two_at_once_do_not_write_the_same(source: Source, lake: Lake, ticks: Fill) -> None:
    ticks("2024-01-01", "2024-01-02", "1 day")
    declared = declare()
    with lake.writing(declared), pytest.raises(DuckDBError, match="Another process exports"):
        await source.export(lake, declared)


async def test_the_password_is_in_no_sentence(source: Source, lake: Lake, ticks: Fill) -> None:
    planned = await plan(source.database, declare())
    wrong = source.url.set(password="'sesame' op=en")
    with (
        pytest.raises(DuckDBError, match="DuckDB can't reach") as refused,
        reading(planned, wrong, lake.settings),
    ):
        pass
    told: BaseException | None = refused.value
    while told is not None:
        assert "sesame" not in str(told)
        told = told.__cause__


async def test_a_cancelled_export_leaves_nothing_half(
    source: Source, lake: Lake, ticks: Fill, names: Names
) -> None:
    ticks("2024-01-01", "2024-01-05", "1 minute")
    declarations._declared.clear()
    # Ten minutes for who reads this column, which only the files do.
    source.run(
        "CREATE FUNCTION slowly() RETURNS text LANGUAGE sql STABLE AS"
        " $$SELECT repeat('x', 10000) FROM pg_sleep(0.1)$$"
    )
    slow = text("SELECT moment, n, slowly() AS slept FROM ticks")
    declared = Export("slow", slow, time="moment", source="desk")
    work = asyncio.create_task(source.export(lake, declared))
    while not (lake.folder.is_dir() and any(".part" in name for name in names())):
        assert not work.done()
        await asyncio.sleep(0.05)
    work.cancel()
    await asyncio.wait([work], timeout=PATIENCE)
    assert work.cancelled()
    assert names() == []
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slowly()%'"
        " AND state = 'active' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + PATIENCE
    while source.run(busy) != [(0,)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


KILLED = """
import asyncio, sys, time
from pathlib import Path
from pydantic import SecretStr
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, text
from my_project.data_layer.duckdb import (
    DuckDBSettings, Export, Lake, export,
)
from my_project.data_layer.duckdb.reader import Reader
from my_project.data_layer.database import (
    Database, DatabaseSettings,
)

async def main():
    address = SecretStr(sys.stdin.readline().strip())
    database_settings = DatabaseSettings(_env_file=None, url=address)
    lake = Lake(DuckDBSettings(_env_file=None, lake=Path(sys.argv[1]), readable=(), threads=2))
    select = text("SELECT moment, n, price FROM ticks")
    declared = Export("ticks", select, time="moment", source="desk")
    write = Reader.write

    def hang(reader, connection, target, stretch):
        if stretch.since.month == 4:
            while len(lake.files(declared)) < 3:
                time.sleep(0.01)
            print("three files", flush=True)
            sys.stdin.readline()
        return write(reader, connection, target, stretch)

    Reader.write = hang
    async with Database.open(database_settings) as database:
        await export(database, lake, declared)

asyncio.run(main())
"""


@pytest.mark.standard("DL-DU-04")
async def test_kill_9_leaves_whole_files_and_the_next_export_goes_on(
    source: Source, lake: Lake, ticks: Fill, names: Names
) -> None:
    ticks("2024-01-01", "2024-12-31", "2 hours")
    declared = declare()
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(lake.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    address = source.url.set(drivername="postgresql").render_as_string(hide_password=False)
    print(address, file=child.stdin, flush=True)
    assert child.stdout.readline() == "three files\n"
    deadline = time.monotonic() + PATIENCE
    while not any(".part" in name for name in names()):
        assert time.monotonic() < deadline
    # What a running export writes is no orphan.
    assert lake.orphans() == []
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()

    whole = lake.files(declared)
    assert [file.begin.month for file in whole] == [1, 2, 3]
    for file in whole:
        [(rows,)] = source.run(
            f"SELECT count(*) FROM ticks WHERE moment >= '{file.begin}Z' AND moment < '{file.end}Z'"
        )
        assert duckdb.read_parquet(str(file.path)).shape[0] == rows
    # Of eight threads one hangs, and the others wait for it with their files.
    assert 1 <= len(lake.orphans()) <= 8

    done = await source.export(lake, declared)
    assert len(done.removed) >= 1
    assert lake.orphans() == []
    # One that was killed before it had locked its file leaves an empty one, for a minute.
    assert len([name for name in names() if not name.endswith(".new")]) == 12
    assert content(lake, declared) == [n for (n,) in source.run("SELECT n FROM ticks ORDER BY n")]
    # Only the newest complete file was looked at again.
    assert whole[0].path not in done.files
