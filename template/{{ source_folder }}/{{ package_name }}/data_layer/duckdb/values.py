"""Bring the values of a result into a table unchanged, or refuse their column by its name."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from psycopg.types.json import Jsonb
from pyarrow import types as arrow
from sqlalchemy import Dialect, MetaData, Table
from sqlalchemy import types as sql

from .errors import DuckDBError

# The range of Python's date and datetime, as Arrow counts it: in days, and in microseconds a day.
_DAYS = (-719_162, 2_932_896)
_A_DAY = 86_400_000_000
_NO_TIME = (
    "an infinite time, one outside of the years 1 to 9999, 24:00, or nanoseconds, which Python has "
    "not"
)

# Arrow gives these types of DuckDB the names of other types.
_DISGUISED = re.compile(r"\b(UHUGEINT|BIT|TIME WITH TIME ZONE)\b")

Convert = Callable[[Any], Any]


def faults_of(schema: Any, kinds: Mapping[str, str], table: Table) -> dict[str, str]:
    """What is wrong with each column of a result that the table can't hold unchanged.

    Args:
        schema: of the result, in Arrow.
        kinds: DuckDB's names of the types, where they are known.
        table: where the result goes.
    """
    faults = {}
    for field in schema:
        if field.name not in table.columns:
            continue  # `upsert` reports that
        column = table.columns[field.name].type
        kind = kinds.get(field.name, str(field.type))
        if _DISGUISED.search(kind) or not _holds(column, field.type):
            cast = _name(column)
            faults[field.name] = (
                f"The column {field.name} of the result is {kind}, whose values {table.name} does "
                f"not take unchanged; "
                + (f"write CAST({field.name} AS {cast})" if cast else "leave it out")
                + " in the query. Nothing is written."
            )
    return faults


def _holds(column: sql.TypeEngine[Any], kind: Any) -> bool:
    """Whether a column keeps every value of a type of Arrow."""
    if arrow.is_dictionary(kind):
        kind = kind.value_type
    if arrow.is_null(kind):
        return True
    match column:
        case sql.ARRAY():
            return _is_list(kind) and _holds(column.item_type, _leaf(kind))
        case sql.Boolean():
            return bool(arrow.is_boolean(kind))
        case sql.Integer():
            # The sum of whole numbers is a decimal without digits after the point.
            return bool(arrow.is_integer(kind) or (arrow.is_decimal(kind) and kind.scale == 0))
        case sql.Numeric():
            digits = None if column.precision is None else column.scale or 0
            fits = arrow.is_decimal(kind) and (digits is None or kind.scale <= digits)
            return bool(arrow.is_integer(kind) or fits)
        case sql.Float():
            # A whole number with more bits than the mantissa may be rounded.
            bits = 32 if _name(column) == "FLOAT" else 64
            whole = arrow.is_integer(kind) and kind.bit_width < bits
            return bool(whole or (arrow.is_floating(kind) and kind.bit_width <= bits))
        case sql.LargeBinary():
            return bool(arrow.is_binary(kind) or arrow.is_large_binary(kind))
        case sql.JSON() | sql.Uuid() | sql.String():
            return bool(arrow.is_string(kind) or arrow.is_large_string(kind))
        case sql.DateTime():
            return bool(arrow.is_timestamp(kind) and (kind.tz is not None) == column.timezone)
        case sql.Date():
            return bool(arrow.is_date(kind))
        case sql.Time(timezone=False):
            return bool(arrow.is_time(kind))
    return not (
        arrow.is_nested(kind) or arrow.is_interval(kind) or isinstance(kind, pa.ExtensionType)
    )


def _name(column: sql.TypeEngine[Any]) -> str:
    """DuckDB's name for the type of a column."""
    match column:
        case sql.ARRAY():
            return f"{_name(column.item_type)}[]"
        case sql.Numeric(precision=int()):
            return f"DECIMAL({column.precision}, {column.scale or 0})"
        case sql.Numeric():
            return "DECIMAL(38, 8)"
        case sql.REAL():
            return "FLOAT"
        case sql.Float():
            return "FLOAT" if (column.precision or 53) <= 24 else "DOUBLE"
        case sql.DateTime():
            return "TIMESTAMPTZ" if column.timezone else "TIMESTAMP"
    return next((name for kind, name in _NAMES if isinstance(column, kind)), "")


_NAMES: tuple[tuple[type[sql.TypeEngine[Any]], str], ...] = (
    (sql.Boolean, "BOOLEAN"),
    (sql.SmallInteger, "SMALLINT"),
    (sql.BigInteger, "BIGINT"),
    (sql.Integer, "INTEGER"),
    (sql.LargeBinary, "BLOB"),
    (sql.JSON, "JSON"),
    (sql.Uuid, "UUID"),
    (sql.String, "VARCHAR"),
    (sql.Date, "DATE"),
    (sql.Time, "TIME"),
)


def _is_list(kind: Any) -> bool:
    return bool(arrow.is_list(kind) or arrow.is_large_list(kind) or arrow.is_fixed_size_list(kind))


def _leaf(kind: Any) -> Any:
    while _is_list(kind):
        kind = kind.value_type
    return kind


class _Written(sql.UserDefinedType[str]):
    """JSON as the text of the result; parsing it would round numbers and drop duplicate keys."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Convert:
        return lambda text: None if text is None else Jsonb(text, dumps=str)


def with_json_as_text(table: Table) -> Table:
    """The same table, but its JSON columns take text."""
    copy = table.to_metadata(MetaData())
    for column in copy.columns:
        if isinstance(column.type, sql.JSON):
            column.type = _Written()
        elif isinstance(column.type, sql.ARRAY) and isinstance(column.type.item_type, sql.JSON):
            column.type = sql.ARRAY(_Written())
    return copy


def rows(batch: Any, table: Table, faults: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a batch of Arrow, as the ORM takes them.

    Raises:
        DuckDBError: Python or the column can't hold a value; the message names the column.
    """
    columns = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        # DuckDB calls a NULL without a type an INTEGER, so a column of NULLs has no fault.
        if name in faults and array.null_count < len(array):
            raise DuckDBError(faults[name])
        column = table.columns[name].type if name in table.columns else sql.NullType()
        try:
            values = _values(array, column)
        except ValueError as error:
            raise DuckDBError(
                f"The column {name} holds {error}; let the query cast, replace or leave out these "
                "values. Nothing is written."
            ) from None
        columns.append(values)
    return zip(*columns, strict=True)


def _values(array: Any, column: sql.TypeEngine[Any]) -> list[Any]:
    """The values of an array.

    Raises:
        ValueError: Python or the column can't hold a value; the message says which kind.
    """
    kind = array.type
    if arrow.is_timestamp(kind):
        kind = pa.timestamp("us", kind.tz)
    elif arrow.is_time(kind):
        kind = pa.time64("us")
    # Python counts microseconds; the cast to them fails where it would lose digits.
    try:
        array = array.cast(kind)
    except pa.ArrowInvalid:
        raise ValueError(_NO_TIME) from None
    leaves = array
    while _is_list(leaves.type):
        leaves = leaves.flatten()
    if leaves.null_count < len(leaves):
        _check_leaves(leaves, column.item_type if isinstance(column, sql.ARRAY) else column)
    convert = _converter(column)
    values = array.to_pylist()
    return [None if one is None else convert(one) for one in values] if convert else list(values)


def _check_leaves(leaves: Any, column: sql.TypeEngine[Any]) -> None:
    kind = leaves.type
    if arrow.is_string(kind) or arrow.is_large_string(kind):
        most = getattr(column, "length", None)
        # PostgreSQL would cut blanks off the end of a text that is too long, and not refuse it.
        if most is not None and pc.max(pc.utf8_length(leaves)).as_py() > most:
            raise ValueError(f"a text of more than {most} characters")
    elif arrow.is_date32(kind):
        _check_between(leaves.view(pa.int32()), *_DAYS)
    elif arrow.is_timestamp(kind) or arrow.is_time(kind):
        if getattr(kind, "unit", "us") != "us":
            raise ValueError(_NO_TIME)
        moments = leaves.view(pa.int64())
        first, last = _DAYS if arrow.is_timestamp(kind) else (0, 0)
        _check_between(moments, first * _A_DAY, (last + 1) * _A_DAY - 1)
        digits = getattr(column, "precision", None)
        if digits is not None:
            step = 10 ** (6 - digits)
            if moments != pc.multiply(pc.divide(moments, step), step):
                raise ValueError(f"a time with more than {digits} digits of a second")


def _check_between(numbers: Any, low: int, high: int) -> None:
    found = pc.min_max(numbers).as_py()
    if not low <= found["min"] <= found["max"] <= high:
        raise ValueError(_NO_TIME)


def _converter(column: sql.TypeEngine[Any]) -> Convert | None:
    """What converts Arrow's values for a column into the ORM's; None if the two are the same."""
    match column:
        case sql.ARRAY():
            convert = _converter(column.item_type)
            return convert and (lambda items: _each(items, convert))
        case sql.Integer():
            return int
        case sql.Uuid(as_uuid=True):
            return _uuid
    return None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("a text that is no UUID") from None


def _each(items: Any, convert: Convert) -> Any:
    if isinstance(items, list):
        return [_each(item, convert) for item in items]
    return None if items is None else convert(items)
