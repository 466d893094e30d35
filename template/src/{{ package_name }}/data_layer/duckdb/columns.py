"""Which columns can be exported, and how each of them gets to DuckDB unchanged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import SelectBase, TextClause
from sqlalchemy.exc import InvalidRequestError

from ..database import Database
from ..database.bulk.copy import driver_of
from .declarations import Export
from .errors import DuckDBError

MAX_PRECISION = 38

# What Parquet and DuckDB have a type for, so that it comes back as what it was.
_SURVIVES = {
    *("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar"),
    *("uuid", "json", "jsonb", "bytea", "date", "timestamp", "timestamptz", "time"),
}
_NOT_IN_ARRAYS = {"bytea"}
TIMES = {"date", "timestamp", "timestamptz"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How an export is read.

    Attributes:
        base: the statement of the declaration, as text with its parameters in it.
        selected: the columns of `base` as PostgreSQL shall send them.
        replaced: what DuckDB makes of some of them, for its `* REPLACE`.
        time: the name of the time column.
        time_type: date, timestamp or timestamptz.
    """

    base: str
    selected: str
    replaced: str
    time: str
    time_type: str


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    shown: str
    kind: str
    array: bool
    precision: int | None
    scale: int | None


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
            time.name,
            time.type,
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
        described = [
            (column.name, column.type_code, cursor.pgresult.fmod(index))
            for index, column in enumerate(cursor.description)
        ]
        await cursor.execute(_TYPES, [[oid for _, oid, _ in described]])
        types = {row[0]: row[1:] for row in await cursor.fetchall()}
    columns = []
    for name, oid, modifier in described:
        shown, kind, array, element = types[oid]
        # The modifier of numeric(p, s): p and s in 16 bits each, s signed in 11 of them.
        bits = modifier - 4
        scale = ((bits & 0x7FF) ^ 1024) - 1024
        bounded = element == "numeric" and modifier >= 4
        columns.append(
            _Column(
                name,
                element,
                shown,
                kind,
                array,
                bits >> 16 & 0xFFFF if bounded else None,
                scale if bounded else None,
            )
        )
    return columns


_TYPES = """
SELECT t.oid, format_type(t.oid, NULL), coalesce(e.typtype, t.typtype), e.oid IS NOT NULL,
       coalesce(e.typname, t.typname)
FROM pg_type AS t
LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typsubscript = 'array_subscript_handler'::regproc
WHERE t.oid = ANY(%s)
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
    if column.type not in _SURVIVES:
        return f"{what}, which Parquet has no equal for (`::text` keeps it as text)"
    if column.array and column.type in _NOT_IN_ARRAYS:
        return f"{what}, which DuckDB does not read"
    if column.type != "numeric":
        return ""
    if column.precision is None or column.scale is None:
        return f"{what} without precision, which would become a float (write numeric(18, 8))"
    if column.precision > MAX_PRECISION or not 0 <= column.scale <= column.precision:
        return (
            f"{what}({column.precision},{column.scale}), and a decimal of Parquet has at most "
            f"{MAX_PRECISION} digits and a scale from 0 to their number"
        )
    return ""


def _sent(column: _Column, name: sql.Identifier) -> sql.Composed:
    if column.kind == "e":
        return sql.SQL("{}::text{} AS {}").format(name, sql.SQL("[]" if column.array else ""), name)
    if column.type == "numeric":
        # A decimal of Parquet has no NaN, and the reader would make it 0: let the server refuse.
        kind = sql.SQL(f"numeric({column.precision},{column.scale}){'[]' * column.array}")
        found = sql.SQL("'NaN' = ANY({})" if column.array else "{} = 'NaN'").format(name)
        return sql.SQL("CASE WHEN {} THEN ({}::text || {})::{} ELSE {}::{} END AS {}").format(
            found, name, sql.Literal(f" in column {column.name}"), kind, name, kind, name
        )
    return sql.SQL("{}").format(name)
