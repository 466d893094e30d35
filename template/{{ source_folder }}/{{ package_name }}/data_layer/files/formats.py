"""One way to read and write tables as Parquet, Feather and CSV, and documents as JSON."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from ..atomic import replacing, writing
from .errors import FilesError

# A row group is what a scan skips or reads as a whole, and what one thread works on; DuckDB's own
# have this many rows.
ROW_GROUP = 122_880

TABLES = ("parquet", "feather", "csv", "csv.gz")

_CSV_KEEPS = (
    pa.types.is_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
)
# A page may begin with a byte order mark, an XML declaration and comments.
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|<\?xml.*?\?>|<!--.*?-->)*<(?:!doctype html|html|head|body|title)\b",
    re.DOTALL | re.IGNORECASE,
)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def write(path: Path, rows: Any, *, schema: Any = None) -> int:
    """Write a table in the format of the path's suffix, and return how many rows it has.

    The file appears under its name only when it is complete and on the disk. Parquet and Feather
    are compressed with zstd and keep the schema, time zones included, except that Parquet keeps
    seconds as milliseconds. A CSV holds no types: pass the same schema to `batches`.

    Args:
        path: its suffix is `.parquet`, `.feather` or `.csv`.
        rows: whatever exports an Arrow stream (a pyarrow Table or RecordBatchReader, a polars
            frame, a DuckDB relation), or an iterable of RecordBatches with their `schema`. A
            stream is written as it comes and never held whole.
        schema: the `pyarrow.Schema` of an iterable.

    Raises:
        FilesError: tables are not written in this format, or CSV would lose a column's type.
        NotWritten: the disk is full.
    """
    kind = table_format(path)
    if kind == "csv.gz":
        raise FilesError(f"{path.name} is only read; write Parquet, which is compressed too.")
    reader = _reader(rows, schema)
    if kind == "csv":
        _refuse_what_csv_loses(path, reader.schema)
    count = 0
    with replacing(path) as part, _writer(kind, path, part, reader.schema) as writer:
        for batch in _row_groups(reader):
            with writing(path):
                writer.write(batch)
            count += batch.num_rows
    return count


def batches(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    schema: Any = None,
    nulls: Sequence[str] = ("",),
) -> Any:
    """Read a table as a `pyarrow.RecordBatchReader`, which holds a few row groups at a time.

    Args:
        path: its suffix is `.parquet`, `.feather`, `.csv` or `.csv.gz`.
        columns: read these alone, in this order.
        schema: the `pyarrow.Schema` by which the text of a CSV is parsed; without it the types
            are guessed from the beginning of the file. Other formats store their schema.
        nulls: unquoted texts that mean null in a CSV, for example `["", "NA"]`.

    Raises:
        FilesError: there is no such file, it is broken, it holds a page of HTML or a pointer of
            Git LFS, or it has no such column.
    """
    kind = table_format(path)
    if not kind.startswith("csv") and schema is not None:
        raise FilesError(f"{path.name} knows its own schema; give one for CSV alone.")
    with _sentences(path):
        if instead := what_instead_of_data(path):
            raise FilesError(f"{path} holds {instead}; get the file again.")
        source = _dataset(path, kind, schema, nulls)
        wanted = None if columns is None else list(columns)
        missing = set(wanted or []) - set(source.schema.names)
        if missing:
            raise FilesError(
                f"{path} has no column {', '.join(sorted(missing))}; it has "
                f"{', '.join(source.schema.names)}."
            )
        scanner = source.scanner(columns=wanted, batch_size=ROW_GROUP, fragment_readahead=1)
        stream = scanner.to_reader()
    return pa.RecordBatchReader.from_batches(stream.schema, _read(path, stream))


def row_count(path: Path) -> int | None:
    """How many rows a table has; None when the file is no table that can be read here.

    Parquet and Feather store the number; a CSV is read to its end. A CSV with comments above its
    header or in another encoding gives None, and so does a page of HTML.

    Raises:
        FilesError: there is no such file.
    """
    if not is_table(path):
        return None
    if not path.is_file():
        raise FilesError(f"There is no file {path}.")
    try:
        with _sentences(path):
            if what_instead_of_data(path):
                return None
            count: int = _dataset(path, table_format(path), None, ()).count_rows()
    except FilesError:
        return None
    return count


def what_instead_of_data(path: Path, name: str = "") -> str:
    """What stands in a file where data should be: a page of HTML or a pointer of Git LFS, or "".

    Args:
        path: the file.
        name: its final name, if that is another one; a file named `.html` may hold a page.
    """
    with path.open("rb") as file:
        begin = file.read(4096)
    if begin.startswith(_LFS_POINTER):
        return "a pointer of Git LFS"
    if _HTML.match(begin) and not (name or path.name).lower().endswith((".html", ".htm")):
        return "a page of HTML"
    return ""


def write_json(path: Path, value: Any) -> None:
    """Write a document, such as configuration or metadata: indented, its keys in their order.

    Raises:
        FilesError: the suffix is not `.json`, or JSON has no way to write the value.
    """
    _demand_json(path)
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FilesError(f"{path.name} can't be written as JSON: {error}.") from None
    with replacing(path) as part, writing(path):
        part.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """Read a document.

    Raises:
        FilesError: there is no such file, or it is not JSON.
    """
    _demand_json(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FilesError(f"There is no file {path}.") from None
    except OSError as error:
        raise FilesError(f"{path} can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise FilesError(f"{path} is no JSON: {error}.") from None


def is_table(path: Path) -> bool:
    """Whether the suffix is one of those that `write` and `batches` know."""
    return path.name.lower().endswith(tuple(f".{kind}" for kind in TABLES))


def table_format(path: Path) -> str:
    """The format of a path, by its suffix.

    Raises:
        FilesError: the suffix is not that of a table.
    """
    if not is_table(path):
        raise FilesError(
            f"{path.name} does not say its format; a table ends in .parquet (for everything that "
            "is analysed), .feather, .csv or .csv.gz, and a document goes through write_json."
        )
    return next(kind for kind in TABLES if path.name.lower().endswith(f".{kind}"))


def _demand_json(path: Path) -> None:
    if path.suffix.lower() != ".json":
        raise FilesError(f"{path.name} does not end in .json, as a document does.")


def _dataset(path: Path, kind: str, schema: Any, nulls: Sequence[str]) -> Any:
    # Imported here: it imports pandas if that is installed, which costs a second in every command.
    from pyarrow import dataset

    how: Any = kind
    if kind.startswith("csv"):
        how = dataset.CsvFileFormat(
            # In a table of one column an empty line is a null, and a text may hold line breaks.
            parse_options=pyarrow.csv.ParseOptions(
                ignore_empty_lines=False, newlines_in_values=True
            ),
            # An empty field is null and "" is an empty text, as `write` has them.
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=schema,
                null_values=list(nulls),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    return dataset.dataset(path, format=how, schema=schema)


def _reader(rows: Any, schema: Any) -> Any:
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(rows)
    if isinstance(rows, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(rows.schema, [rows])
    if schema is None or not isinstance(rows, Iterable):
        raise FilesError(
            f"A {type(rows).__name__} is no table; give an Arrow stream, or record batches with "
            "their schema."
        )
    return pa.RecordBatchReader.from_batches(schema, rows)


@contextmanager
def _writer(kind: str, path: Path, part: Path, schema: Any) -> Iterator[Any]:
    with writing(path):
        if kind == "parquet":
            writer = pyarrow.parquet.ParquetWriter(part, schema, compression="zstd")
        elif kind == "feather":
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            writer = pa.ipc.new_file(str(part), schema, options=options)
        else:
            writer = pyarrow.csv.CSVWriter(str(part), schema)
    try:
        yield writer
    finally:
        with writing(path):
            writer.close()


def _row_groups(reader: Any) -> Iterator[Any]:
    """The rows in tables of one row group each, however small or large the batches are."""
    waiting = []
    count = 0
    for batch in reader:
        for start in range(0, batch.num_rows, ROW_GROUP):
            piece = batch.slice(start, ROW_GROUP)
            waiting.append(piece)
            count += piece.num_rows
            if count >= ROW_GROUP:
                table = pa.Table.from_batches(waiting)
                yield table.slice(0, ROW_GROUP)
                waiting = table.slice(ROW_GROUP).to_batches()
                count -= ROW_GROUP
    if waiting:
        yield pa.Table.from_batches(waiting)


def _read(path: Path, stream: Any) -> Iterator[Any]:
    with _sentences(path):
        yield from stream


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise FilesError(f"There is no file {path}.") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        reason = " ".join(str(error).split())
        raise FilesError(f"{path} can't be read: {reason}.") from None


def _refuse_what_csv_loses(path: Path, schema: Any) -> None:
    lost = [field for field in schema if not any(keeps(field.type) for keeps in _CSV_KEEPS)]
    if lost:
        told = ", ".join(f"{field.name} ({field.type})" for field in lost)
        raise FilesError(
            f"CSV can't keep the columns {told} of {path.name}; write Parquet, or leave them out."
        )
