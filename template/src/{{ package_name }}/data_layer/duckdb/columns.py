"""Which columns can be exported, and how each of them gets to DuckDB unchanged."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from psycopg import sql
from sqlalchemy import SelectBase, TextClause
from sqlalchemy.exc import InvalidRequestError

from ..database import Database
from ..database.bulk.copy import driver_of
from .declarations import Export
from .errors import DuckDBError
from .sql import first_line, parquet

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
# In each row a type holds all values of those before it.
_WIDENING = (("SMALLINT", "INTEGER", "BIGINT"), ("FLOAT", "DOUBLE"))
_DIGITS = re.compile(r"(?:numeric|DECIMAL)\((\d+),(-?\d+)\)")
_NOT_IN_ARRAYS = {"bytea"}
TIMES = {"date", "timestamp", "timestamptz"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How an export is read.

    Attributes:
        base: the statement of the declaration, as text with its parameters in it.
        selected: the columns of `base` as PostgreSQL shall send them.
        replaced: what DuckDB makes of some of them, for its `* REPLACE`.
        types: the type that DuckDB has for each column, by name.
        time: the name of the time column.
        time_type: date, timestamp or timestamptz.
        order_by: the columns by which the rows of a file are sorted.
    """

    base: str
    selected: str
    replaced: str
    types: Mapping[str, str]
    time: str
    time_type: str
    order_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    shown: str
    kind: str
    array: bool

    @property
    def digits(self) -> tuple[int, int] | None:
        """The precision and the scale of a numeric that has them."""
        found = _DIGITS.search(self.shown)
        return (int(found[1]), int(found[2])) if found else None


async def plan(database: Database, export: Export) -> Plan:
    """Ask the server what the export consists of.

    Raises:
        DuckDBError: a column can't be exported, by name; or one that is named is not there.
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
        selected, replaced = _checked(export, columns)
        [time] = [column for column in columns if column.name == export.time]
        return Plan(
            base,
            sql.SQL(", ").join(selected).as_string(driver),
            sql.SQL(", ").join(replaced).as_string(driver),
            {column.name: _in_duckdb(column) for column in columns},
            time.name,
            time.type,
            export.order_by,
        )


def _text(driver: Any, statement: SelectBase | TextClause, dialect: Any) -> str:
    state = statement.compile(dialect=dialect).construct_expanded_state()
    if not state.parameters:
        # What is written around it begins on a line of its own, behind a comment of the last one.
        return state.statement.replace("%%", "%").rstrip().rstrip(";") + "\n"
    parameters = {
        name: process(value) if callable(process := state.processors.get(name)) else value
        for name, value in state.parameters.items()
    }
    return psycopg.AsyncClientCursor(driver).mogrify(state.statement.encode(), parameters)


async def _columns(driver: Any, base: str) -> list[_Column]:
    async with driver.cursor() as cursor:
        await cursor.execute(f"SELECT * FROM ({base}) AS exported LIMIT 0".encode())  # noqa: S608
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


def _checked(
    export: Export, columns: Sequence[_Column]
) -> tuple[list[sql.Composed], list[sql.Composed]]:
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DuckDBError(f"The export {export.name} has two columns {twice[0]}; label one.")
    if missing := [name for name in (export.time, *export.order_by) if name not in names]:
        raise DuckDBError(
            f"The export {export.name} names the column {missing[0]}, which it does not have; it "
            f"has {', '.join(names)}."
        )
    faults = [fault for column in columns if (fault := _fault(column))]
    [time] = [column for column in columns if column.name == export.time]
    if time.array or time.type not in TIMES:
        faults.append(f"{time.name} is {time.shown}, and no timestamp or date to split files by")
    if faults:
        raise DuckDBError(
            f"The export {export.name} can't keep every value: {'; '.join(faults)}. Export a "
            "select that casts such a column, or leaves it out."
        )
    selected, replaced = [], []
    for column in columns:
        name = sql.Identifier(column.name)
        selected.append(_sent(column, name))
        if column.type in {"json", "jsonb"}:
            target = sql.SQL("JSON[]" if column.array else "JSON")
            replaced.append(sql.SQL("CAST({} AS {}) AS {}").format(name, target, name))
    return selected, replaced


def _fault(column: _Column) -> str:
    what = f"{column.name} is {column.shown}"
    if column.kind == "e":
        return ""
    if column.type not in _KEPT:
        return f"{what}, which Parquet has no equal for (`::text` keeps it as text)"
    if column.array and column.type in _NOT_IN_ARRAYS:
        return f"{what}, which DuckDB does not read"
    if column.type != "numeric":
        return ""
    if column.digits is None:
        return f"{what} without precision, which would become a float (cast to numeric(18, 8))"
    precision, scale = column.digits
    if precision > MAX_PRECISION or not 0 <= scale <= precision:
        return (
            f"{what}, and a decimal of Parquet has at most {MAX_PRECISION} digits and a scale from "
            "0 to their number"
        )
    return ""


def _sent(column: _Column, name: sql.Identifier) -> sql.Composed:
    if column.kind == "e":
        return sql.SQL("{}::text{} AS {}").format(name, sql.SQL("[]" if column.array else ""), name)
    if column.type == "numeric":
        # A decimal of Parquet has no NaN, and the reader would make it 0: let the server refuse.
        kind = sql.SQL(column.shown)
        found = sql.SQL("'NaN' = ANY({})" if column.array else "{} = 'NaN'").format(name)
        return sql.SQL("CASE WHEN {} THEN ({}::text || {})::{} ELSE {}::{} END AS {}").format(
            found, name, sql.Literal(f" in column {column.name}"), kind, name, kind, name
        )
    return sql.SQL("{}").format(name)


def _in_duckdb(column: _Column) -> str:
    kind = "VARCHAR" if column.kind == "e" else _KEPT[column.type]
    if column.digits is not None:
        kind += "({},{})".format(*column.digits)
    return kind + "[]" * column.array


def conflicts(plan: Plan, files: Sequence[Path]) -> list[str]:
    """Say which columns of these files can't be united with what an export has now.

    A view takes for each column the wider type of the two, and NULL where a file does not have it.

    Raises:
        DuckDBError: a file can't be read.
    """
    found = []
    with duckdb.connect() as connection:
        for file in files:
            stored = _types_in(connection, file)
            if plan.time not in stored:
                found.append(f"{file.name} has no column {plan.time}, which places its rows")
            found += [
                f"{name} is {kind}, and {stored[name]} in {file.name}"
                for name, kind in plan.types.items()
                if name in stored and not _united(kind, stored[name])
            ]
    return found


def unchanged(plan: Plan, file: Path) -> bool:
    """Whether a file has every column that an export has now, each with the same type.

    Raises:
        DuckDBError: the file can't be read.
    """
    with duckdb.connect() as connection:
        return plan.types.items() <= _types_in(connection, file).items()


def _types_in(connection: duckdb.DuckDBPyConnection, file: Path) -> dict[str, str]:
    try:
        described = connection.execute(f"DESCRIBE FROM {parquet([file])}").fetchall()
    except duckdb.Error as error:
        raise DuckDBError(
            f"{file.name} can't be read ({first_line(error)}); move it away, and export again "
            "with --since its first day."
        ) from None
    return {row[0]: row[1] for row in described}


def _united(one: str, other: str) -> bool:
    """Whether one of two types holds every value of both."""
    if one == other:
        return True
    if one.endswith("[]") and other.endswith("[]"):
        return _united(one[:-2], other[:-2])
    if (first := _DIGITS.fullmatch(one)) and (second := _DIGITS.fullmatch(other)):
        scales = int(second[2]) - int(first[2])
        # The more digits there are on one side of the point, the more or as many on the other.
        return scales * (int(second[1]) - int(first[1]) - scales) >= 0
    return any(one in types and other in types for types in _WIDENING)
