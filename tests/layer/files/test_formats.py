"""Tables and documents: written whole or not at all, read back as they were."""

import gzip
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from my_project.data_layer.atomic import NotWritten, leftovers
from my_project.data_layer.files import (
    FilesError,
    batches,
    read_json,
    row_count,
    write,
    write_json,
)
from my_project.data_layer.files.formats import ROW_GROUP
from tests.layer import PATIENCE

BERLIN = ZoneInfo("Europe/Berlin")
# The hour that the clocks of Berlin show twice.
TWICE = [
    datetime(2023, 10, 29, 0, 30, tzinfo=UTC).astimezone(BERLIN),
    datetime(2023, 10, 29, 1, 30, tzinfo=UTC).astimezone(BERLIN),
    None,
]
TEXT = pa.table(
    {
        "at": pa.array(TWICE, pa.timestamp("us", "Europe/Berlin")),
        "utc": pa.array(TWICE, pa.timestamp("ns", "UTC")),
        "local": pa.array([datetime(2023, 1, 1), None, None], pa.timestamp("ms")),  # noqa: DTZ001
        "day": pa.array([date(2023, 1, 1), None, date(1, 1, 1)], pa.date32()),
        "price": pa.array([Decimal("1.50"), None, Decimal("-0.01")], pa.decimal128(20, 2)),
        "count": pa.array([1, None, 255], pa.uint8()),
        "ratio": pa.array([0.1, None, float("inf")], pa.float64()),
        "text": pa.array(["", None, 'NA, "quoted"\nnext'], pa.string()),
        "flag": pa.array([True, None, False], pa.bool_()),
    }
)
RICH = TEXT.append_column("list", pa.array([[1], None, []], pa.list_(pa.int64()))).append_column(
    "bytes", pa.array([b"\x00\xff", None, b""], pa.binary())
)


@pytest.mark.parametrize(
    ("name", "table", "schema"),
    [
        ("a.parquet", RICH, None),
        ("a.feather", RICH, None),
        ("a.csv", TEXT, TEXT.schema),
        ("one column.csv", TEXT.select(["text"]), TEXT.select(["text"]).schema),
    ],
)
def test_comes_back_with_its_schema(
    tmp_path: Path, name: str, table: object, schema: object
) -> None:
    path = tmp_path / name
    assert write(path, table) == 3
    assert row_count(path) == 3
    read = batches(path, schema=schema).read_all()
    assert read.schema.remove_metadata().equals(table.schema)  # type: ignore[attr-defined]
    assert read.equals(table)


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_chosen_columns_come_in_their_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, TEXT)
    assert batches(path, columns=["count", "day"]).schema.names == ["count", "day"]
    with pytest.raises(FilesError, match="has no column nothing; it has at, utc"):
        batches(path, columns=["nothing"])


def test_a_csv_of_others_has_its_own_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    # The guess is made from the first megabyte, and what comes behind it is another type.
    path.write_text("a,b\n" + "1,x\n" * 400_000 + 'NA,"NA"\n')
    assert row_count(path) == 400_001
    with pytest.raises(FilesError, match="can't be read"):
        batches(path).read_all()
    schema = pa.schema({"a": pa.int64(), "b": pa.string()})
    last = batches(path, schema=schema, nulls=["NA"]).read_all().slice(400_000).to_pylist()
    assert last == [{"a": None, "b": "NA"}]


def test_a_csv_of_others_begins_with_a_mark_and_quotes(tmp_path: Path) -> None:
    """As spreadsheets write it."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfname,price\r\n"Acme, ""the"" firm\r\nof two lines",1.50\r\n')
    schema = pa.schema({"name": pa.string(), "price": pa.decimal128(9, 2)})
    for given in (schema, None):
        read = batches(path, columns=["price", "name"], schema=given).read_all()
        assert read.schema.names == ["price", "name"]
        assert read["name"].to_pylist() == ['Acme, "the" firm\r\nof two lines']
    assert row_count(path) == 1


def test_a_compressed_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.CSV.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,x\nNA,y\n"))
    assert row_count(path) == 2
    schema = pa.schema({"a": pa.int64(), "b": pa.string()})
    read = batches(path, schema=schema, nulls=["NA"], columns=["b", "a"]).read_all()
    assert read.to_pylist() == [{"b": "x", "a": 1}, {"b": "y", "a": None}]
    with pytest.raises(FilesError, match=r"a\.CSV\.gz is only read"):
        write(path, read)


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
@pytest.mark.parametrize("inside", ["label=linux", "desk[1]", "de*k", "it's", "a b"])
def test_a_path_is_a_path(tmp_path: Path, inside: str, suffix: str) -> None:
    """And no pattern that finds a neighbour's file, and no column `label`."""
    for folder, value in (("desk1", "theirs"), (inside, "ours")):
        path = tmp_path / folder / f"a[1].{suffix}"
        write(path, pa.table({"label": [value]}))
    assert batches(path).read_all().to_pylist() == [{"label": "ours"}]
    assert row_count(path) == 1


def small_batches(rows: int, size: int) -> Iterator[object]:
    for start in range(0, rows, size):
        numbers = list(range(start, min(start + size, rows)))
        yield pa.record_batch({"number": pa.array(numbers, pa.int64())})


def test_a_stream_becomes_row_groups_of_one_size(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = 2 * ROW_GROUP + 17
    schema = pa.schema({"number": pa.int64()})
    for size in (999, ROW_GROUP + 1, 3 * ROW_GROUP):
        assert write(path, small_batches(rows, size), schema=schema) == rows
        about = pyarrow.parquet.ParquetFile(path).metadata
        groups = [about.row_group(number) for number in range(about.num_row_groups)]
        assert [group.num_rows for group in groups] == [ROW_GROUP, ROW_GROUP, 17]
        assert groups[0].column(0).compression == "ZSTD"
        assert groups[1].column(0).statistics.min == ROW_GROUP
        numbers = batches(path).read_all()["number"].to_pylist()
        assert numbers == list(range(rows))


def test_an_empty_table_keeps_its_schema(tmp_path: Path) -> None:
    for suffix in ("parquet", "feather", "csv"):
        path = tmp_path / f"a.{suffix}"
        assert write(path, TEXT.slice(0, 0)) == 0
        assert row_count(path) == 0
        assert batches(path).schema.names == TEXT.schema.names


def test_csv_names_the_columns_that_it_would_lose(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match=r"columns list \(list<.*\), bytes \(binary\) of a.csv"):
        write(tmp_path / "a.csv", RICH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_a_source_that_fails_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    schema = pa.schema({"number": pa.int64()})
    write(path, small_batches(3, 3), schema=schema)
    before = path.read_bytes()

    def failing() -> Iterator[object]:
        yield from small_batches(2 * ROW_GROUP, ROW_GROUP)
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        write(path, failing(), schema=schema)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    """As far as a limit on the size of files can stand for it."""
    path = tmp_path / f"a.{suffix}"
    schema = pa.schema({"number": pa.int64()})
    write(path, small_batches(3, 3), schema=schema)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(NotWritten, match=rf"a\.{suffix} can't be written: .*File too large"):
            write(path, small_batches(2 * ROW_GROUP, ROW_GROUP), schema=schema)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_no_disk_takes_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match="can't be written: File name too long"):
        write(tmp_path / f"{'x' * 250}.csv", TEXT)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.parquet", b"PAR1 and no more", "can't be read"),
        ("a.feather", b"", "can't be read"),
        ("a.csv", b"a,b\n1,2\n3\n", "can't be read"),
        ("gone.parquet", None, "There is no file"),
        ("a.xlsx", b"", "does not say its format"),
    ],
)
def test_a_broken_file_is_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FilesError, match=words):
        batches(path).read_all()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="A list is no table"):
        write(tmp_path / "a.parquet", [1, 2])
    with pytest.raises(FilesError, match="knows its own schema"):
        batches(tmp_path / "a.parquet", schema=TEXT.schema)


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"größe": [1, 2.5, None], "deep": {"yes": True}}
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_text(encoding="utf-8").startswith('{\n  "größe"')
    for wrong in ({"at": date(2023, 1, 1)}, {"x": float("nan")}):
        with pytest.raises(FilesError, match=r"a\.json can't be written as JSON"):
            write_json(path, wrong)
    assert read_json(path) == value
    path.write_bytes(b'\xef\xbb\xbf{"of": "others"}')
    assert read_json(path) == {"of": "others"}
    path.write_text("{")
    with pytest.raises(FilesError, match="is no JSON"):
        read_json(path)
    with pytest.raises(FilesError, match=r"does not end in \.json"):
        write_json(tmp_path / "a.yaml", value)


ENDLESS = """
import sys
from pathlib import Path
import pyarrow as pa
from my_project.data_layer.files import write

def endless():
    batch = pa.record_batch({"number": pa.array(range(100_000), pa.int64())})
    while True:
        yield batch

write(Path(sys.argv[1]), endless(), schema=pa.schema({"number": pa.int64()}))
"""


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_a_killed_write_leaves_nothing_that_looks_complete(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, small_batches(3, 3), schema=pa.schema({"number": pa.int64()}))
    before = path.read_bytes()
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)])
    try:
        deadline = time.monotonic() + PATIENCE
        while not any(part.stat().st_size > 100_000 for part in tmp_path.glob(".*.part")):
            assert writer.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert list(leftovers(tmp_path)) == []
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()

    assert path.read_bytes() == before
    (part,) = leftovers(tmp_path)
    assert list(tmp_path.glob(f"*.{suffix}")) == [path]
    assert part.name.startswith(".")
