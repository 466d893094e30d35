"""What a column holds comes back as it was, or is refused by name."""

import json
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    JSON,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from my_project.data_layer.database import copy_in
from my_project.data_layer.duckdb import (
    DuckDBError,
    Export,
    Lake,
    analysis,
    declarations,
    write_back,
)
from tests.layer.duckdb.conftest import Source

MOOD = Enum("sad", "so so", "übermütig", name="mood")

COLUMNS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "small": (SmallInteger(), st.integers(-(2**15), 2**15 - 1)),
    "whole": (Integer(), st.integers(-(2**31), 2**31 - 1)),
    "big": (BigInteger(), st.integers(-(2**63), 2**63 - 1)),
    "single": (REAL(), st.floats(width=32)),
    "double": (Double(), st.floats()),
    "money": (Numeric(18, 8), st.decimals(-(10**10) + 1, 10**10 - 1, places=8)),
    "huge": (Numeric(38, 10), st.decimals(-(10**28) + 1, 10**28 - 1, places=10)),
    "yes": (Boolean(), st.booleans()),
    "words": (Text(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    "short": (String(8), st.text("aäß\n'\"\\", max_size=8)),
    "day": (Date(), st.dates()),
    "clock": (Time(), st.times()),
    "naive": (DateTime(), st.datetimes()),
    "id": (Uuid(), st.uuids()),
    "document": (
        JSONB(none_as_null=True),
        st.dictionaries(st.text("ab'\"\\", max_size=3), st.integers() | st.none(), max_size=3),
    ),
    "raw": (JSON(none_as_null=True), st.lists(st.integers(), max_size=3)),
    "bytes": (LargeBinary(), st.binary(max_size=8)),
    "mood": (MOOD, st.sampled_from(MOOD.enums)),
    "numbers": (ARRAY(BigInteger()), st.lists(st.integers(-(2**63), 2**63 - 1) | st.none())),
    "amounts": (
        ARRAY(Numeric(12, 4)),
        st.lists(st.decimals(-(10**8) + 1, 10**8 - 1, places=4) | st.none(), max_size=3),
    ),
    "texts": (ARRAY(Text()), st.lists(st.text('aä{},"\\', max_size=3) | st.none(), max_size=3)),
    "ids": (ARRAY(Uuid()), st.lists(st.uuids(), max_size=2)),
    "days": (ARRAY(Date()), st.lists(st.dates() | st.none(), max_size=2)),
    "moods": (ARRAY(MOOD), st.lists(st.sampled_from(MOOD.enums), max_size=2)),
}
TYPED = MetaData()


def _table(name: str) -> Table:
    return Table(
        name,
        TYPED,
        Column("moment", DateTime(timezone=True), primary_key=True),
        *(Column(column, kind) for column, (kind, _) in COLUMNS.items()),
        Column("run_id", Text()),
    )


SENT, BACK = _table("sent"), _table("back")
NAMES = ["moment", *COLUMNS]

rows = st.lists(
    st.tuples(
        st.datetimes(datetime(1969, 1, 1), datetime(1971, 1, 1), timezones=st.timezones()),  # noqa: DTZ001
        *(values | st.none() for _, values in COLUMNS.values()),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row[0],
)


@pytest.fixture
async def tables(source: Source) -> Source:
    async with source.database.transaction() as session:
        await (await session.connection()).run_sync(TYPED.create_all)
    return source


@settings(
    max_examples=10,
    # A counterexample is readable as it is; to shrink it takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=rows)
async def test_every_value_makes_the_round_trip(
    tables: Source, lake: Lake, rows: list[tuple[Any, ...]]
) -> None:
    declarations._declared.clear()
    for file in lake.folder.glob("*.parquet"):
        file.unlink()
    tables.run("TRUNCATE sent, back")
    async with tables.database.transaction() as session:
        await copy_in(session, SENT, rows, columns=NAMES)
    quoted = ", ".join(f'"{name}"' for name in NAMES)
    declared = Export(
        "sent",
        text(f"SELECT {quoted} FROM sent"),
        time="moment",
        period="year",
    )
    done = await tables.export(lake, declared)
    assert done.rows == done.read == len(rows)
    with analysis(lake) as opened:
        result = opened.query("FROM sent ORDER BY moment")
        written = await write_back(tables.database, BACK, result, key=["moment"], run_id="one")
    assert written.inserted == len(rows)
    # As text: to a comparison NaN is NaN, but -0 is 0, and json has none.
    same = " AND ".join(f'sent."{n}"::text IS NOT DISTINCT FROM back."{n}"::text' for n in NAMES)
    [(differing,)] = tables.run(
        f"SELECT count(*) FROM sent LEFT JOIN back USING (moment) WHERE NOT ({same})"
    )
    assert differing == 0


async def test_infinite_times_are_kept_in_the_file(source: Source, lake: Lake) -> None:
    source.run(
        "CREATE TABLE forever"
        " (moment date, until timestamptz, day date, weight double precision, run_id text)",
        "INSERT INTO forever VALUES ('2024-01-01', 'infinity', '-infinity', 'infinity', NULL),"
        " ('2024-01-02', NULL, '0044-03-15 BC', 'NaN', NULL)",
    )
    declared = Export("forever", text("SELECT * FROM forever"), time="moment")
    await source.export(lake, declared)
    with analysis(lake) as opened:
        found = opened.query(
            "SELECT CAST(until AS VARCHAR), CAST(day AS VARCHAR), CAST(weight AS VARCHAR)"
            " FROM forever ORDER BY moment"
        ).fetchall()
        assert found == [("infinity", "-infinity", "inf"), (None, "0044-03-15 (BC)", "nan")]
        table = Table(
            "forever",
            MetaData(),
            Column("moment", Date(), primary_key=True),
            Column("until", DateTime(timezone=True)),
            Column("run_id", Text()),
        )
        result = opened.query("SELECT moment, until FROM forever")
        with pytest.raises(DuckDBError, match="column until holds an infinite time"):
            await write_back(source.database, table, result, key=["moment"], run_id="one")


async def test_what_files_say_of_their_columns(source: Source, lake: Lake) -> None:
    """A view has the types that the table has, and no text in their place."""
    source.run(
        "CREATE DOMAIN price AS numeric(12, 4)",
        "CREATE TABLE typed"
        " (moment timestamptz, p price, id uuid, doc jsonb, docs jsonb[], name text[])",
        """INSERT INTO typed VALUES (now(), 1.5, gen_random_uuid(), '{"a": 1}', '{"{}"}', '{a}')""",
    )
    await source.export(lake, Export("typed", text("SELECT * FROM typed"), time="moment"))
    with analysis(lake) as opened:
        described = opened.query("DESCRIBE typed").fetchall()
        assert [(row[0], row[1]) for row in described] == [
            ("moment", "TIMESTAMP WITH TIME ZONE"),
            ("p", "DECIMAL(12,4)"),
            ("id", "UUID"),
            ("doc", "JSON"),
            ("docs", "JSON[]"),
            ("name", "VARCHAR[]"),
        ]
        [(document,)] = opened.query("SELECT doc FROM typed").fetchall()
        assert json.loads(document) == {"a": 1}


REFUSED = {
    "numeric": ("1", "c is numeric without precision, which would become a float"),
    "numeric[]": ("'{1}'", "without precision"),
    "numeric(40, 2)": ("1", "at most 38 digits"),
    "numeric(5, -2)": ("100", "at most 38 digits"),
    "numeric(3, 5)": ("0.00123", "at most 38 digits"),
    "interval": ("'1 day'", "c is interval, which Parquet has no equal for"),
    "int4range": ("'[1,2)'", "c is int4range"),
    "money": ("1", "c is money"),
    "timetz": ("'10:00+02'", "c is time with time zone"),
    "inet": ("'10.0.0.1'", "c is inet"),
    "bit(3)": ("'101'", "c is bit"),
    "point": ("'(1,2)'", "c is point"),
    "tsvector": ("'a'", "c is tsvector"),
    "bytea[]": ("array['a'::bytea]", "which DuckDB does not read"),
    "pair": ("row(1, 2)", "c is pair"),
}


async def test_what_would_change_is_refused_by_name(source: Source, lake: Lake) -> None:
    source.run("CREATE TYPE pair AS (a int, b int)")
    for kind, (value, words) in REFUSED.items():
        declarations._declared.clear()
        source.run(
            "DROP TABLE IF EXISTS odd",
            f"CREATE TABLE odd AS SELECT now() AS moment, {value}::{kind} AS c",
        )
        declared = Export("odd", text("SELECT * FROM odd"), time="moment")
        with pytest.raises(DuckDBError, match=re.escape(words)):
            await source.export(lake, declared)
    assert not lake.folder.exists()
