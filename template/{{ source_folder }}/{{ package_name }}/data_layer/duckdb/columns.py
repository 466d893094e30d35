"""Which columns can be exported, and how each of them gets to DuckDB unchanged."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from sqlalchemy import Integer, Numeric, SelectBase, TextClause
from sqlalchemy.exc import InvalidRequestError

from ..database import Database
from ..database.bulk.copy import driver_of
from .declarations import Export
from .errors import DuckDBError
from .sql import identifier

MAX_PRECISION = 38

# The types of PostgreSQL whose values DuckDB and Parquet keep, and what DuckDB calls them.
_KEPT = {
    "bool": "BOOLEAN",
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "numeric": "DECIMAL",
    "text": "VARCHAR",
    "varchar": "VARCHAR",
    "bpchar": "VARCHAR",
    "uuid": "UUID",
    "json": "JSON",
    "jsonb": "JSON",
    "bytea": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "time": "TIME",
}
_DIGITS = re.compile(r"numeric\((\d+),(-?\d+)\)")
_NOT_IN_ARRAYS = {"bytea"}
_TIMES = {"date", "timestamp", "timestamptz"}
# DuckDB counts microseconds from 1970, PostgreSQL from 2000, so PostgreSQL's last 30 years would
# overflow.
_TIMES_END = "294247-01-01 00:00Z"


@dataclass(frozen=True, slots=True)
class Plan:
    """How an export is read.

    Attributes:
        base: the declared statement as text, with the values of its parameters written out.
        selected: the select list with which PostgreSQL sends the columns of `base`.
        replaced: casts that DuckDB applies to some of the columns, for its `* REPLACE`.
        types: DuckDB's type of each column, by name.
        losses: SQL conditions under which the export would change a value, each with the words
            that describe such a value.
        time: the name of the time column.
        time_type: date, timestamp or timestamptz.
        order_by: the columns by which the rows of a file are sorted.
    """

    base: str
    selected: str
    replaced: str
    types: Mapping[str, str]
    losses: tuple[tuple[str, str], ...]
    time: str
    time_type: str
    order_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as the server describes it.

    Attributes:
        name: of the column.
        type: the name of its type; for an array, of its elements' type.
        shown: the type as people write it.
        kind: `e` for an enum.
        array: whether the column is an array.
        scale: the digits after the decimal point, if the declaration knows them and the server
            does not.
    """

    name: str
    type: str
    shown: str
    kind: str
    array: bool
    scale: int | None = None

    @property
    def digits(self) -> tuple[int, int] | None:
        """The precision and the scale of a numeric that has them."""
        if found := _DIGITS.search(self.shown):
            return int(found[1]), int(found[2])
        return None if self.scale is None else (MAX_PRECISION, self.scale)

    @property
    def in_duckdb(self) -> str:
        """DuckDB's type for the column."""
        kind = "VARCHAR" if self.kind == "e" else _KEPT[self.type]
        if self.digits is not None:
            kind += "({},{})".format(*self.digits)
        return kind + "[]" * self.array

    @property
    def sent(self) -> str:
        """The expression that PostgreSQL selects for the column."""
        name = identifier(self.name)
        if self.kind == "e":
            return f"{name}::text{'[]' * self.array} AS {name}"
        if self.scale is not None:
            return f"{name}::numeric({MAX_PRECISION}, {self.scale}) AS {name}"
        return name

    def fault(self) -> str:
        """Why the column can't be exported, whatever its values are; empty if it can."""
        what = f"{self.name} is {self.shown}"
        if self.kind == "e":
            return ""
        if self.type not in _KEPT:
            return f"{what}, which Parquet has no equal for (`::text` keeps it as text)"
        if self.array and self.type in _NOT_IN_ARRAYS:
            return f"{what}, which DuckDB does not read"
        if self.type != "numeric":
            return ""
        if self.digits is None:
            return f"{what} without precision, which would become a float (cast to numeric(18, 8))"
        precision, scale = self.digits
        if precision > MAX_PRECISION or not 0 <= scale <= precision:
            return (
                f"{what}, and a decimal of Parquet has at most {MAX_PRECISION} digits and a scale "
                "from 0 to their number"
            )
        return ""

    def losses(self) -> Iterator[tuple[str, str]]:
        """Conditions under which the export would change a value, each with what is wrong then."""
        name = identifier(self.name)
        if self.array:
            yield (
                f"array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1",
                "has more than one dimension or does not begin at 1, as a list of Parquet does "
                "(cast the column to jsonb or text)",
            )
        if (loss := self._loss("item" if self.array else name)) is not None:
            condition, told = loss
            if self.array:
                condition = f"EXISTS (SELECT FROM unnest({name}) AS item WHERE {condition})"
            yield condition, told

    def _loss(self, value: str) -> tuple[str, str] | None:
        match self.type:
            case "numeric" if self.scale is not None:
                most = MAX_PRECISION - self.scale
                return (
                    # PostgreSQL sorts NaN above every number, so the first part finds NaN, too.
                    f"abs({value}) >= 1e{most} OR round({value}, {self.scale}) <> {value}",
                    f"is NaN or has more digits than the numeric({MAX_PRECISION}, {self.scale}) "
                    "that was declared (cast the column to a numeric with others, or to float8)",
                )
            case "numeric":
                return (
                    f"{value} = 'NaN'",
                    "is NaN, which a decimal of Parquet can't be (correct the row, or cast the "
                    "column to float8)",
                )
            case "timestamp" | "timestamptz":
                return (
                    f"isfinite({value}) AND {value} >= '{_TIMES_END}'",
                    "is later than the year 294246, where the time of DuckDB ends (cast the column "
                    "to text)",
                )
            case "json":
                # JSONB refuses such text. It also refuses NUL, which JSON and DuckDB allow.
                return (
                    rf"{value}::text ~* '\\ud[89a-f]' AND"
                    rf" NOT pg_input_is_valid(replace({value}::text, '\u0000', ''), 'jsonb')",
                    r"has half of a character, as \ud800 is (correct the row, or cast the column "
                    "to text)",
                )
        return None


async def plan(database: Database, export: Export) -> Plan:
    """Ask the server for the columns of an export, and plan how to read them.

    Raises:
        DuckDBError: a column can't be exported, or the declaration names a column that does not
            exist, and the message names the column; or the statement lacks a value, or the server
            refuses it.
    """
    async with database.read_only() as session:
        driver, dialect = await driver_of(session)
        try:
            base = _text(driver, export.statement, dialect)
        except InvalidRequestError as error:
            raise DuckDBError(
                f"The statement of the export {export.name} can't be read: {error.args[0]}. Give "
                r"the value by bindparams; a colon that begins no parameter is written \:."
            ) from None
        try:
            columns = await _columns(driver, base)
        except (psycopg.ProgrammingError, psycopg.DataError) as error:
            raise DuckDBError(
                f"The server refuses the statement of the export {export.name}: "
                f"{error.diag.message_primary}. Run the migrations, or correct the declaration."
            ) from error
    columns = [_with_scale(column, export.statement) for column in columns]
    _check(export, columns)
    [time] = [column for column in columns if column.name == export.time]
    return Plan(
        base,
        ", ".join(column.sent for column in columns),
        ", ".join(
            f"CAST({name} AS {column.in_duckdb}) AS {name}"
            for column in columns
            for name in [identifier(column.name)]
            if column.type in {"json", "jsonb"}
        ),
        {column.name: column.in_duckdb for column in columns},
        tuple(
            (condition, f"a value of {column.name} {told}")
            for column in columns
            if column is not time
            for condition, told in column.losses()
        ),
        time.name,
        time.type,
        export.order_by,
    )


def _text(driver: Any, statement: SelectBase | TextClause, dialect: Any) -> str:
    state = statement.compile(dialect=dialect).construct_expanded_state()
    if not state.parameters:
        # The line break ends a comment in the last line, so that it hides no SQL that follows.
        return state.statement.replace("%%", "%").rstrip().rstrip(";") + "\n"
    parameters = {
        name: process(value) if callable(process := state.processors.get(name)) else value
        for name, value in state.parameters.items()
    }
    return psycopg.AsyncClientCursor(driver).mogrify(state.statement.encode(), parameters)


async def _columns(driver: Any, base: str) -> list[_Column]:
    async with driver.cursor() as cursor:
        # A prepared statement would fail once the table has other columns.
        described = f"SELECT * FROM ({base}) AS exported LIMIT 0"  # noqa: S608
        await cursor.execute(described.encode(), prepare=False)
        names = [column.name for column in cursor.description]
        oids = [column.type_code for column in cursor.description]
        modifiers = [cursor.pgresult.fmod(index) for index in range(len(names))]
        await cursor.execute(_TYPES, [oids, modifiers])
        return [
            _Column(name, *row) for name, row in zip(names, await cursor.fetchall(), strict=True)
        ]


_TYPES = """
SELECT coalesce(e.typname, t.typname), format_type(t.oid, asked.modifier),
       coalesce(e.typtype, t.typtype), e.oid IS NOT NULL
FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS asked(type, modifier, place)
JOIN pg_type AS t ON t.oid = asked.type
LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typsubscript = 'array_subscript_handler'::regproc
ORDER BY asked.place
"""


def _with_scale(column: _Column, statement: SelectBase | TextClause) -> _Column:
    """The column with the scale that SQLAlchemy knows and the server does not, as for a sum."""
    if column.shown != "numeric" or not isinstance(statement, SelectBase):
        return column
    for declared in statement.selected_columns:
        if getattr(declared, "name", None) == column.name:
            match declared.type:
                case Integer():
                    return replace(column, scale=0)
                case Numeric(precision=int(), scale=scale):
                    return replace(column, scale=scale or 0)
    return column


def _check(export: Export, columns: Sequence[_Column]) -> None:
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DuckDBError(f"The export {export.name} has two columns {twice[0]}; label one.")
    if missing := [name for name in (export.time, *export.order_by) if name not in names]:
        raise DuckDBError(
            f"The export {export.name} names the column {missing[0]}, which it does not have; it "
            f"has {', '.join(names)}."
        )
    faults = [fault for column in columns if (fault := column.fault())]
    [time] = [column for column in columns if column.name == export.time]
    if time.array or time.type not in _TIMES:
        faults.append(f"{time.name} is {time.shown}, and no timestamp or date to split files by")
    if faults:
        raise DuckDBError(
            f"The export {export.name} can't keep every value: {'; '.join(faults)}. Export a "
            "select that casts such a column, or leaves it out."
        )
