"""The ends of every type's range: they come back as they were, or are refused by name."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from pydantic import SecretStr
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    Interval,
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
from sqlalchemy.dialects.postgresql import JSONB, TIME, TIMESTAMP

from my_project.data_layer.database import Database, DatabaseSettings, RowRejected
from my_project.data_layer.duckdb import (
    DuckDBError,
    Export,
    Lake,
    analysis,
    declarations,
    write_back,
)
from my_project.data_layer.duckdb.reader import Reader
from tests.data_layer.fixtures import connect
from tests.layer.duckdb.conftest import Source, settings

NINES = "9" * 38
WORDS = [
    *("''", "'NULL'", r"'\N'", r"'\.'", "E'\\x01\\x7f\\t\\r\\n'", "'\U0001f600\U0010ffff'"),
    "E'\"\\'\\\\,{}'",
]
TIMES = ["'0001-01-01 00:00Z'", "'9999-12-31 23:59:59.999999Z'", "'1970-01-01 00:00Z'"]
# What goes the whole way: PostgreSQL, Parquet, DuckDB, and PostgreSQL again.
KEPT = {
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "real": ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'1e-45'", "'-3.4028235e38'"],
    "double precision": ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'5e-324'", "'1.7e308'"],
    "numeric(1, 1)": ["0.9", "-0.9"],
    "numeric(4, 0)": ["9999", "-9999"],
    "numeric(9, 9)": ["0.999999999", "-0.000000001"],
    "numeric(18, 8)": ["9999999999.99999999", "-0.00000001"],
    "numeric(19, 0)": ["9999999999999999999", "-9999999999999999999"],
    "numeric(38, 0)": [NINES, f"-{NINES}"],
    "numeric(38, 38)": [f"0.{NINES}", f"-0.{'0' * 37}1"],
    "boolean": ["true", "false"],
    "text": WORDS,
    "varchar(4)": ["''", "'äöü\U0001f600'"],
    "char(3)": ["''", "'a'", "'abc'"],
    "bytea": ["''", r"'\x00'", r"'\xff00fe'"],
    "uuid": [f"'{'0' * 32}'", f"'{'f' * 32}'", f"'80{'0' * 30}'", f"'7f{'f' * 30}'"],
    "date": ["'0001-01-01'", "'9999-12-31'"],
    "timestamp": TIMES,
    "timestamptz": TIMES,
    "timestamptz(0)": ["'9999-12-31 23:59:59Z'"],
    "time": ["'00:00'", "'23:59:59.999999'"],
    "json": [
        *(r"""'{"a": 1.00000000000000000000001,   "a": 2}'""", "'1e400'", "'null'", "' -0 '"),
        *(r"""'"\u0000\ud83d\ude00"'""", "'123456789012345678901234567890'", "'[[[]]]'", "'\"\"'"),
    ],
    "jsonb": ["'0.12345678901234567890123456789'", "'1e40'", "'null'", "'\"null\"'", "'1.10'"],
    "mood": ["'sad'", "'über; mütig'"],
    "price": ["99999999.9999", "-0.0001"],
    "smallint[]": ["'{}'", "'{NULL}'", "'{-32768,32767}'"],
    "double precision[]": ["'{NaN,-0,5e-324,-Infinity,NULL}'"],
    "numeric(38, 10)[]": [f"'{{{NINES[:28]}.{NINES[:10]}}}'"],
    "boolean[]": ["'{t,f,NULL}'"],
    "text[]": ["array['NULL', '', NULL, '\"', '\\', '{', '\U0001f600']"],
    "uuid[]": [f"'{{{'f' * 32}}}'"],
    "timestamptz[]": ["'{0001-01-01 00:00Z,9999-12-31 23:59:59.999999Z}'"],
    "time[]": ["'{00:00,23:59:59.999999}'"],
    "jsonb[]": ["array['null', NULL, '1.00000000000000000000001']::jsonb[]"],
    "mood[]": ["'{sad}'"],
}


@pytest.fixture
def types(source: Source) -> Source:
    source.run(
        "CREATE TYPE mood AS ENUM ('sad', 'über; mütig')",
        "CREATE DOMAIN price AS numeric(12, 4) CHECK (value < 100000000)",
    )
    return source


@pytest.mark.standard("DL-DU-05")
async def test_the_ends_of_every_type_come_back_as_they_were(types: Source, lake: Lake) -> None:
    columns = [f"c{number}" for number in range(len(KEPT))]
    declared = ", ".join(f"{name} {kind}" for name, kind in zip(columns, KEPT, strict=True))
    types.run(
        f"CREATE TABLE sent (moment date PRIMARY KEY, {declared}, run_id text)",
        "CREATE TABLE back (LIKE sent INCLUDING ALL)",
    )
    for number in range(max(map(len, KEPT.values()))):
        values = ", ".join(
            f"({values[number % len(values)]})::{kind}" for kind, values in KEPT.items()
        )
        types.run(f"INSERT INTO sent SELECT date '2024-01-01' + {number}, {values}")
    listed = ", ".join(columns)
    await types.export(
        lake, Export("sent", text(f"SELECT moment, {listed} FROM sent"), time="moment")
    )
    async with types.database.transaction() as session:
        back = await (await session.connection()).run_sync(
            lambda connection: Table("back", MetaData(), autoload_with=connection)
        )
    with analysis(lake) as opened:
        await write_back(
            types.database, back, opened.query("FROM sent"), key=["moment"], run_id="one"
        )
    for name, kind in zip(columns, KEPT, strict=True):
        changed = types.run(
            f"SELECT sent.{name}::text, back.{name}::text FROM sent LEFT JOIN back USING (moment)"
            f" WHERE sent.{name}::text IS DISTINCT FROM back.{name}::text"
        )
        assert (kind, changed) == (kind, [])


# What a file keeps, and Python has not.
ONLY_IN_FILES = {
    "date": [
        *(("'infinity'", "infinity"), ("'-infinity'", "-infinity")),
        *(("'4714-11-24 BC'", "4714-11-24 (BC)"), ("'5874897-12-31'", "5874897-12-31")),
    ],
    "timestamp": [
        *(("'infinity'", "infinity"), ("'4714-11-24 BC'", "4714-11-24 (BC) 00:00:00")),
        ("'294246-12-31 23:59:59.999999'", "294246-12-31 23:59:59.999999"),
        ("'10000-01-01'", "10000-01-01 00:00:00"),
    ],
    "timestamptz": [
        *(("'-infinity'", "-infinity"), ("'0001-01-01Z BC'", "0001-01-01 (BC) 00:00:00+00")),
        # Its text of later microseconds is wrong in DuckDB, whose calendar counts in floats.
        ("'294246-12-31 23:59:59Z'", "294246-12-31 23:59:59+00"),
    ],
    "time": [("'24:00'", "24:00:00")],
    "timestamptz[]": [("'{infinity}'", "[infinity]")],
    "time[]": [("'{24:00}'", "['24:00:00']")],
}


@pytest.mark.parametrize("kind", ONLY_IN_FILES)
async def test_what_python_has_not_is_kept_in_the_file_and_refused_on_the_way_back(
    source: Source, lake: Lake, kind: str
) -> None:
    source.run(f"CREATE TABLE odd (moment date PRIMARY KEY, c {kind}, run_id text)")
    async with source.database.transaction() as session:
        back = await (await session.connection()).run_sync(
            lambda connection: Table("odd", MetaData(), autoload_with=connection)
        )
    declared = Export("odd", text("SELECT moment, c FROM odd"), time="moment")
    for number, (value, shown) in enumerate(ONLY_IN_FILES[kind]):
        source.run(f"INSERT INTO odd VALUES (date '2024-01-01' + {number}, {value})")
        await source.export(lake, declared)
        with analysis(lake) as opened:
            last = "FROM odd ORDER BY moment DESC LIMIT 1"
            assert opened.query(f"SELECT c::VARCHAR {last}").fetchall() == [(shown,)]
            with pytest.raises(DuckDBError, match="column c holds an infinite time, one outside"):
                await write_back(
                    source.database, back, opened.query(last), key=["moment"], run_id="one"
                )


REFUSED = [
    ("timestamp", "'294247-01-01'", "c is later than the year 294246"),
    ("timestamp", "'294276-12-31 23:59:59.999999'", "c is later than the year 294246"),
    ("timestamptz", "'294247-01-10 04:00:54.775807Z'", "c is later than the year 294246"),
    ("timestamp[]", "'{294276-12-31}'", "c is later than the year 294246"),
    ("numeric(8, 2)", "'NaN'", "c is NaN, which a decimal of Parquet can't be"),
    ("numeric(8, 2)[]", "'{1,NaN}'", "c is NaN"),
    ("integer[]", "'{{1,2},{3,4}}'", "c has more than one dimension"),
    ("integer[]", "'[0:1]={1,2}'", "c has more than one dimension or does not begin at 1"),
    ("json", r"""'{"a": "\ud800"}'""", "c has half of a character"),
    ("json", r"""'"\udc00\ud800"'""", "c has half of a character"),
]


@pytest.mark.parametrize(("kind", "value", "words"), REFUSED)
async def test_a_value_that_would_change_is_refused_before_anything_is_written(
    source: Source, lake: Lake, kind: str, value: str, words: str
) -> None:
    source.run(
        f"CREATE TABLE odd (moment date, c {kind})",
        "INSERT INTO odd VALUES ('2024-01-01', NULL), ('2024-02-01', NULL)",
    )
    declared = Export("odd", text("SELECT * FROM odd"), time="moment")
    await source.export(lake, declared, until=date(2024, 2, 1))
    before = {file.path: file.path.read_bytes() for file in lake.files(declared)}
    assert len(before) == 1
    source.run(f"INSERT INTO odd VALUES ('2024-03-01', {value})")
    with pytest.raises(DuckDBError, match="odd can't keep every value: a value of") as refused:
        await source.export(lake, declared)
    told = str(refused.value)
    assert words in told
    for hidden in ("SELECT", "CASE", "2024-03", "294276-12"):
        assert hidden not in told
    # Also February, which came before it and is as it should be.
    assert {file.path: file.path.read_bytes() for file in lake.files(declared)} == before
    assert lake.orphans() == []
    source.run("DELETE FROM odd WHERE moment = '2024-03-01'")
    assert (await source.export(lake, declared)).rows == 2


async def test_a_value_that_was_refused_once_is_not_looked_for_again(
    source: Source, lake: Lake
) -> None:
    """Only the rows that an export reads are its business."""
    source.run(
        "CREATE TABLE odd (moment date, c numeric(8, 2))",
        "INSERT INTO odd VALUES ('2024-01-01', 1), ('2024-02-01', 2)",
    )
    declared = Export("odd", text("SELECT * FROM odd"), time="moment")
    await source.export(lake, declared)
    source.run("UPDATE odd SET c = 'NaN' WHERE moment = '2024-01-01'")
    source.run("INSERT INTO odd VALUES ('2024-02-02', 3)")
    assert (await source.export(lake, declared)).rows == 2
    with pytest.raises(DuckDBError, match="c is NaN"):
        await source.export(lake, declared, since=date(2024, 1, 1))


async def test_what_the_server_says_is_told_without_the_statement_and_the_value(
    source: Source, lake: Lake
) -> None:
    source.run("CREATE TABLE odd AS SELECT date '2024-01-01' AS moment, 'secret' AS word")
    declared = Export(
        "odd", text("SELECT moment, substr(word, 1)::int AS c FROM odd"), time="moment"
    )
    with pytest.raises(DuckDBError) as refused:
        await source.export(lake, declared)
    assert "The export odd stopped: invalid input syntax for type integer." in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_what_duckdb_says_is_told_without_the_value(
    source: Source, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nobody has looked at the values before."""
    monkeypatch.setattr(Reader, "lost", lambda *_: "")
    source.run(
        r"""CREATE TABLE odd AS SELECT date '2024-01-01' AS moment, '"\ud800 secret"'::json AS c"""
    )
    with pytest.raises(DuckDBError) as refused:
        await source.export(lake, Export("odd", text("SELECT * FROM odd"), time="moment"))
    assert "The export odd stopped: DuckDB can't convert a value of c." in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_a_database_of_another_encoding_and_time_zone(source: Source, tmp_path: Path) -> None:
    source.run(
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        "ALTER DATABASE latin SET timezone = 'Asia/Tokyo'",
    )
    url = source.url.set(drivername="postgresql", database="latin")
    with connect(url) as connection:
        connection.execute(
            "CREATE TABLE words AS SELECT timestamptz '2024-01-01 20:00Z' AS moment,"
            " 'übermütig' AS word"
        )
    lake = Lake(settings(tmp_path))
    declared = Export("words", text("SELECT *, moment::date AS day FROM words"), time="moment")
    address = SecretStr(url.render_as_string(hide_password=False))
    async with Database.open(DatabaseSettings(_env_file=None, url=address)) as database:
        await Source(url, database).export(lake, declared)
    with analysis(lake) as opened:
        found = opened.query("SELECT word, day FROM words").fetchall()
    assert found == [("übermütig", date(2024, 1, 1))]


async def test_columns_may_change_while_a_process_exports(source: Source, lake: Lake) -> None:
    """A statement that the driver has prepared would end with a raw error of the server."""
    source.run("CREATE TABLE ticks AS SELECT date '2024-01-01' AS day")
    for number in range(7):
        declarations._declared.clear()
        await source.export(lake, Export("ticks", text("SELECT * FROM ticks"), time="day"))
        source.run(f"ALTER TABLE ticks ADD c{number} int")


# Each result's column, the table's, and what the refusal says to write.
CASTS: list[tuple[str, Any, str]] = [
    ("0.1::DOUBLE", Numeric(12, 4), "DECIMAL(12, 4)"),
    ("'nan'::FLOAT", Numeric(12, 4), "DECIMAL(12, 4)"),
    ("1.5::DOUBLE", Numeric(), "DECIMAL(38, 8)"),
    ("0.12345::DECIMAL(18, 5)", Numeric(12, 4), "DECIMAL(12, 4)"),
    ("1.5::DECIMAL(4, 1)", Integer(), "INTEGER"),
    ("1.5::DECIMAL(4, 1)", Double(), "DOUBLE"),
    ("2.0::DOUBLE", BigInteger(), "BIGINT"),
    ("9007199254740993", Double(), "DOUBLE"),
    ("123456789", REAL(), "FLOAT"),
    ("0.1::DOUBLE", REAL(), "FLOAT"),
    ("340282366920938463463374607431768211455::UHUGEINT", Numeric(38, 0), "DECIMAL(38, 0)"),
    ("12345678901234567890::BIGNUM", Numeric(38, 0), "DECIMAL(38, 0)"),
    ("1", Boolean(), "BOOLEAN"),
    ("true", SmallInteger(), "SMALLINT"),
    ("1", Text(), "VARCHAR"),
    ("'0101'::BIT", LargeBinary(), "BLOB"),
    ("'abc'", LargeBinary(), "BLOB"),
    ("TIMETZ '10:00:00+02'", Time(), "TIME"),
    ("TIMESTAMP '2024-01-01'", DateTime(timezone=True), "TIMESTAMPTZ"),
    ("TIMESTAMPTZ '2024-01-01'", DateTime(), "TIMESTAMP"),
    ("TIMESTAMP '2024-01-01'", Date(), "DATE"),
    ("MAP {'a': 1}", JSONB(), "JSON"),
    ("{'a': 'nan'::DOUBLE}", JSONB(), "JSON"),
    ("[1, 2]", JSONB(), "JSON"),
    ("1", Uuid(), "UUID"),
    ("[0.1::DOUBLE]", ARRAY(Numeric(8, 2)), "DECIMAL(8, 2)[]"),
    ("INTERVAL '1 month'", Interval(), ""),
]


def table(kind: Any) -> Table:
    return Table(
        "kept",
        MetaData(),
        Column("key", Integer, primary_key=True),
        Column("c", kind),
        Column("run_id", Text),
    )


async def made(source: Source, kind: Any) -> Table:
    kept = table(kind)
    async with source.database.transaction() as session:
        await (await session.connection()).run_sync(kept.create)
    return kept


@pytest.mark.parametrize(("value", "kind", "cast"), CASTS)
async def test_a_result_that_could_be_rounded_says_what_to_cast(
    source: Source, lake: Lake, value: str, kind: Any, cast: str
) -> None:
    kept = await made(source, kind)
    words = f"write CAST(c AS {cast}) in the query" if cast else "leave it out in the query"
    with analysis(lake, only=[]) as opened:
        result = opened.query(f"SELECT 1 AS key, {value} AS c")
        with pytest.raises(DuckDBError) as refused:
            await write_back(source.database, kept, result, key=["key"], run_id="one")
        assert words in str(refused.value)
        assert source.run("SELECT count(*) FROM kept") == [(0,)]
        # A NULL that nobody has given a type is an INTEGER to DuckDB.
        result = opened.query("SELECT 1 AS key, NULL AS c")
        await write_back(source.database, kept, result, key=["key"], run_id="one")


HELD: list[tuple[str, Any, str]] = [
    ("sum(n) FROM (VALUES (9223372036854775806), (1)) AS t(n)", BigInteger(), str(2**63 - 1)),
    ("count(*) FROM range(3)", Integer(), "3"),
    (f"{NINES}::HUGEINT", Numeric(38, 0), NINES),
    ("18446744073709551615::UBIGINT", Numeric(20, 0), "18446744073709551615"),
    ("1.5::DECIMAL(4, 1)", Numeric(12, 4), "1.5000"),
    ("1.23456::DECIMAL(18, 5)", Numeric(), "1.23456"),
    ("7", Double(), "7"),
    ("0.5::FLOAT", Double(), "0.5"),
    ("'a'::ENUM('a')", Text(), "a"),
    ("TIMESTAMP_NS '2024-01-01 00:00:00.123456'", DateTime(), "2024-01-01 00:00:00.123456"),
    ("""'{"n": 1.00000000000000000000001}'::JSON""", JSONB(), '{"n": 1.00000000000000000000001}'),
    ("{'n': 1.5::DECIMAL(2, 1)}::JSON", JSONB(), '{"n": 1.5}'),
    ("[[1], [2]]", ARRAY(Integer(), dimensions=2), "{{1},{2}}"),
    ("'ab'", String(2), "ab"),
    ("TIMESTAMP '1969-12-31 23:59:59'", TIMESTAMP(precision=0), "1969-12-31 23:59:59"),
    ("TIME '10:00:00.123'", TIME(precision=3), "10:00:00.123"),
]


@pytest.mark.parametrize(("value", "kind", "stored"), HELD)
async def test_a_result_of_another_type_is_taken_where_nothing_changes(
    source: Source, lake: Lake, value: str, kind: Any, stored: str
) -> None:
    kept = await made(source, kind)
    expression, _, rest = value.partition(" FROM ")
    with analysis(lake, only=[]) as opened:
        result = opened.query(
            f"SELECT 1 AS key, {expression} AS c{f' FROM {rest}' if rest else ''}"
        )
        await write_back(source.database, kept, result, key=["key"], run_id="one")
    assert source.run("SELECT c::text FROM kept") == [(stored,)]


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("TIMESTAMP_NS '2024-01-01 00:00:00.123456789'", DateTime(), "c holds .* nanoseconds"),
        ("TIME_NS '10:00:00.123456789'", Time(), "c holds .* nanoseconds"),
        ("[['infinity'::TIMESTAMP]]", ARRAY(DateTime()), "c holds an infinite time"),
        ("[TIMESTAMP_NS '2024-01-01']", ARRAY(DateTime()), "c holds .* nanoseconds"),
        ("'no UUID'", Uuid(), "c holds a text that is no UUID; let the query"),
        ("'ab '", String(2), "c holds a text of more than 2 characters"),
        ("['a', 'ab ']", ARRAY(String(2)), "c holds a text of more than 2 characters"),
        ("TIMESTAMP '2024-01-01 00:00:00.1'", TIMESTAMP(precision=0), "more than 0 digits of a"),
        ("TIME '10:00:00.1234'", TIME(precision=3), "c holds a time with more than 3 digits"),
    ],
)
async def test_a_value_that_python_has_not_is_refused_by_name(
    source: Source, lake: Lake, value: str, kind: Any, words: str
) -> None:
    kept = await made(source, kind)
    with analysis(lake, only=[]) as opened:
        result = opened.query(f"SELECT 1 AS key, {value} AS c")
        with pytest.raises(DuckDBError, match=words):
            await write_back(source.database, kept, result, key=["key"], run_id="one")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("70000", SmallInteger()),
        ("18446744073709551615::UBIGINT", BigInteger()),
        ("100000000::DECIMAL(12, 0)", Numeric(8, 4)),
        ("chr(0)", Text()),
        ("'no JSON'", JSONB()),
    ],
)
async def test_a_value_beyond_the_column_is_rejected(
    source: Source, lake: Lake, value: str, kind: Any
) -> None:
    kept = await made(source, kind)
    with analysis(lake, only=[]) as opened:
        result = opened.query(f"SELECT 1 AS key, {value} AS c")
        with pytest.raises(RowRejected):
            await write_back(source.database, kept, result, key=["key"], run_id="one")
    assert source.run("SELECT count(*) FROM kept") == [(0,)]


async def test_an_arrow_table_is_judged_by_its_own_types(source: Source) -> None:
    kept = await made(source, Numeric(12, 4))
    result = pa.table({"key": [1], "c": [0.5]})
    with pytest.raises(DuckDBError, match=r"c of the result is double, .* CAST\(c AS DECIMAL\(12"):
        await write_back(source.database, kept, result, key=["key"], run_id="one")
