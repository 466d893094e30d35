"""Columns change on living exports; what has left the database stays in the files."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from my_project.data_layer.duckdb import DuckDBError, Export, Lake, analysis, declarations
from my_project.data_layer.duckdb.columns import plan
from my_project.data_layer.duckdb.unite import unchanged
from tests.layer.duckdb.conftest import Source


def declare(columns: str = "*") -> Export:
    """The export of some columns, as a new release of the program declares it."""
    declarations._declared.clear()
    return Export("ticks", text(f"SELECT {columns} FROM ticks"), time="day", source="desk")


def rows(lake: Lake, columns: str) -> list[tuple[Any, ...]]:
    with analysis(lake) as opened:
        return opened.query(f"SELECT {columns} FROM ticks ORDER BY day").fetchall()


@pytest.fixture
async def history(source: Source, lake: Lake) -> Source:
    """Days of January and February are exported; the database keeps the last one alone."""
    source.run(
        "CREATE TABLE ticks (day date, n int, price numeric(8, 2), label text)",
        "INSERT INTO ticks VALUES ('2024-01-01', 1, 1.25, 'a'), ('2024-01-02', 2, 2.25, 'b'),"
        " ('2024-02-01', 3, 3.25, 'c')",
    )
    await source.export(lake, declare())
    source.run("DELETE FROM ticks WHERE day < '2024-02-01'")
    return source


async def test_an_added_column_is_in_new_rows_and_null_in_the_old_ones(
    history: Source, lake: Lake
) -> None:
    january = lake.files(declare())[0].path
    before = january.read_bytes()
    history.run(
        "ALTER TABLE ticks ADD unit text DEFAULT 'EUR'",
        "INSERT INTO ticks VALUES ('2024-02-02', 4, 4.25, 'd', 'USD'),"
        " ('2024-03-01', 5, 5.25, 'e', 'GBP')",
    )
    await history.export(lake, declare())
    assert rows(lake, "n, label, unit") == [
        (1, "a", None),
        (2, "b", None),
        (3, "c", "EUR"),  # the newest moment is read again
        (4, "d", "USD"),
        (5, "e", "GBP"),
    ]
    assert january.read_bytes() == before
    assert (await history.export(lake, declare())).files == ()


async def test_a_dropped_column_stays_in_the_old_files(history: Source, lake: Lake) -> None:
    history.run(
        "ALTER TABLE ticks DROP label",
        "INSERT INTO ticks VALUES ('2024-02-02', 4, 4.25), ('2024-03-01', 5, 5.25)",
    )
    await history.export(lake, declare())
    assert rows(lake, "n, label") == [(1, "a"), (2, "b"), (3, None), (4, None), (5, None)]


async def test_a_renamed_column_is_two_unless_it_is_labelled(history: Source, lake: Lake) -> None:
    history.run(
        "ALTER TABLE ticks RENAME label TO word",
        "INSERT INTO ticks VALUES ('2024-03-01', 5, 5.25, 'e')",
    )
    await history.export(lake, declare("day, n, price, word AS label"))
    assert [label for (label,) in rows(lake, "label")] == ["a", "b", "c", "e"]
    history.run("INSERT INTO ticks VALUES ('2024-03-02', 6, 6.25, 'f')")
    await history.export(lake, declare())
    assert rows(lake, "label, word")[-3:] == [("c", None), (None, "e"), (None, "f")]


async def test_a_wider_type_unites_with_the_narrow_one(history: Source, lake: Lake) -> None:
    history.run(
        "ALTER TABLE ticks ALTER n TYPE bigint, ALTER price TYPE numeric(18, 8)",
        "INSERT INTO ticks VALUES ('2024-02-02', 9223372036854775807, 1.12345678),"
        " ('2024-02-03', 4, 4.25)",
    )
    await history.export(lake, declare())
    assert rows(lake, "n, price") == [
        (1, Decimal("1.25")),
        (2, Decimal("2.25")),
        (3, Decimal("3.25")),
        (2**63 - 1, Decimal("1.12345678")),
        (4, Decimal("4.25")),
    ]
    # And back: the view keeps the wider one.
    history.run("INSERT INTO ticks VALUES ('2024-03-01', 7, 7.25)")
    await history.export(lake, declare("day, n % 1000 AS m, (n % 1000)::smallint AS n"))
    assert rows(lake, "n")[-3:] == [(2**63 - 1,), (4,), (7,)]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("day, n::text AS n", "n is VARCHAR, and INTEGER in desk_ticks_tick_20240101"),
        ("day, n::float8 AS n", "n is DOUBLE, and INTEGER in"),
        ("day, price::numeric(7, 4) AS price", r"price is DECIMAL\(7,4\), and DECIMAL\(8,2\) in"),
        ("day, price::float8 AS price", "price is DOUBLE, and DECIMAL"),
        ("day, array[label] AS label", r"label is VARCHAR\[\], and VARCHAR in"),
        ("day::timestamptz AS day, n", "day is TIMESTAMP WITH TIME ZONE, and DATE in"),
    ],
)
async def test_a_type_that_does_not_hold_the_old_values_is_refused_by_name(
    history: Source, lake: Lake, columns: str, words: str
) -> None:
    before = {file.path: file.path.read_bytes() for file in lake.files(declare())}
    with pytest.raises(DuckDBError, match=words):
        await history.export(lake, declare(columns))
    assert {file.path: file.path.read_bytes() for file in lake.files(declare())} == before


async def test_another_type_of_a_column_that_was_away_is_found_in_the_old_files(
    history: Source, lake: Lake
) -> None:
    history.run("INSERT INTO ticks VALUES ('2024-03-01', 5, 5.25, 'e')")
    await history.export(lake, declare("day, n"))
    history.run("INSERT INTO ticks VALUES ('2024-04-01', 6, 6.25, 'f')")
    await history.export(lake, declare("day, n, 1 AS other"))
    with pytest.raises(DuckDBError, match="label is INTEGER, and VARCHAR in desk_ticks_tick_2024"):
        await history.export(lake, declare("day, n, 1 AS label"))


async def test_files_can_be_written_anew_where_the_database_has_all(
    source: Source, lake: Lake
) -> None:
    source.run(
        "CREATE TABLE ticks AS SELECT date '2024-01-01' + n AS day, n"
        " FROM generate_series(0, 99) AS n"
    )
    await source.export(lake, declare())
    other = declare("day, n::text AS n")
    with pytest.raises(DuckDBError, match="--since 2024-01-01 writes all files anew"):
        await source.export(lake, other)
    with pytest.raises(DuckDBError, match="n is VARCHAR, and INTEGER in"):
        await source.export(lake, other, since=date(2024, 2, 1))
    await source.export(lake, other, since=date(2024, 1, 1))
    assert rows(lake, "n")[0] == ("0",)


async def test_every_file_tells_the_types_that_are_planned(source: Source, lake: Lake) -> None:
    """Else each export would compare all files, and refuse what has not changed."""
    kinds = {
        "bool": "true",
        "smallint": "1",
        "int": "1",
        "bigint": "1",
        "real": "1",
        "float8": "1",
        "numeric(8,2)": "1",
        "numeric(38,0)": "1",
        "text": "'a'",
        "varchar(8)": "'a'",
        "char(3)": "'a'",
        "uuid": "gen_random_uuid()",
        "json": "'{}'",
        "jsonb": "'{}'",
        "bytea": "'a'",
        "date": "now()",
        "timestamp": "now()",
        "timestamp(3)": "now()",
        "timestamptz": "now()",
        "timestamptz(0)": "now()",
        "time": "now()",
        "int[]": "'{1}'",
        "numeric(8,2)[]": "'{1}'",
        "jsonb[]": "array['{}'::jsonb]",
        "timestamptz[]": "array[now()]",
    }
    columns = ", ".join(f"{value}::{kind} AS c{i}" for i, (kind, value) in enumerate(kinds.items()))
    source.run(f"CREATE TABLE ticks AS SELECT date '2024-01-01' AS day, {columns}")
    await source.export(lake, declare())
    planned = await plan(source.database, declare())
    assert unchanged(planned, lake.files(declare())[0].path)


async def test_late_changes_are_read_again_as_declared(source: Source, lake: Lake) -> None:
    """Rows that are read again have the new column too."""
    source.run(
        "CREATE TABLE ticks AS SELECT date '2024-01-01' + n AS day, n"
        " FROM generate_series(0, 9) AS n"
    )
    await source.export(lake, declare())
    source.run("ALTER TABLE ticks ADD unit text DEFAULT 'EUR'")
    declarations._declared.clear()
    statement = text("SELECT * FROM ticks")
    late = Export("ticks", statement, time="day", source="desk", late=timedelta(days=2))
    source.run("INSERT INTO ticks VALUES ('2024-01-11', 10, 'USD')")
    await source.export(lake, late)
    assert [unit for (unit,) in rows(lake, "unit")] == [None] * 7 + ["EUR"] * 3 + ["USD"]
