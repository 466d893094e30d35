"""How values are sent: the types of a COPY, and guards so that no binary form changes a value."""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import psycopg
from psycopg.postgres import types as builtin
from psycopg.pq import Format
from sqlalchemy import Boolean, Dialect, LargeBinary, Table

from ..errors import UnknownColumn
from .tables import identifier, listed

Connection: TypeAlias = psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a COPY: what the server calls its type, and how its values are sent."""

    name: str
    type: str
    oid: int
    process: Callable[[Any], Any] | None
    guard: Callable[[list[Any]], None] | None


async def columns_of(
    driver: Connection, dialect: Dialect, table: Table, names: Sequence[str]
) -> tuple[list[Column], bool]:
    """How each column is sent, and whether all of them have a binary form that is safe."""
    async with driver.cursor() as cursor:
        await cursor.execute(_TYPES, [identifier(table).as_string(driver)])
        found = {name: (oid, type_name) for name, oid, type_name in await cursor.fetchall()}
    if missing := [name for name in names if name not in found]:
        raise UnknownColumn(
            f"The model of {table.name} has {listed(missing)}, the table in the database has "
            "not; run the migrations."
        )
    types = await _binary_types(driver, [found[name][0] for name in names])
    declared = {column.name: column.type for column in table.columns}
    columns = [
        Column(
            name,
            found[name][1],
            oid,
            # For Boolean and LargeBinary the guards do what SQLAlchemy does value by value.
            _wall_clock
            if not types and found[name][0] == builtin["timestamp"].oid
            else None
            if isinstance(declared[name], (Boolean, LargeBinary))
            else declared[name].dialect_impl(dialect).bind_processor(dialect),
            _GUARDS.get(oid) if types else None,
        )
        for name, oid in zip(names, types or [0] * len(names), strict=True)
    ]
    return columns, types is not None


# A value of a domain is sent as the domain's base type.
_TYPES = """
WITH RECURSIVE columns (name, declared, type) AS (
    SELECT attname, format_type(atttypid, atttypmod), atttypid
    FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT name, declared, typbasetype FROM columns JOIN pg_type ON oid = type WHERE typtype = 'd'
)
SELECT name, oid, declared FROM columns JOIN pg_type ON oid = type WHERE typtype <> 'd'
"""


async def _binary_types(driver: Connection, oids: Sequence[int]) -> list[int] | None:
    """The types to send in binary form; None when a column has no binary form that is safe."""
    text = builtin["text"].oid
    alike = {builtin["bpchar"].oid: text}
    if unknown := [oid for oid in oids if oid not in alike and not _has_dumper(driver, oid)]:
        async with driver.cursor() as cursor:
            await cursor.execute(
                "SELECT oid FROM pg_type WHERE oid = ANY(%s) AND typtype = 'e'", [unknown]
            )
            alike |= {oid: text for (oid,) in await cursor.fetchall()}
    if set(unknown) - alike.keys():
        return None
    return [alike.get(oid, oid) for oid in oids]


def _has_dumper(driver: Connection, oid: int) -> bool:
    try:
        driver.adapters.get_dumper_by_oid(oid, Format.BINARY)
    except psycopg.ProgrammingError:
        return False
    return oid not in _UNCHECKED


# psycopg's binary dumpers trust their caller: a number too large for its column would be stored as
# another number, and a text as true. Each guard looks at one column of a batch.
def _packs_as(code: str) -> Callable[[list[Any]], None]:
    def guard(values: list[Any]) -> None:
        numbers = list(filter(None, values))
        # With a byte order, struct checks; without one, too large a float packs as infinity.
        struct.pack(f"!{len(numbers)}{code}", *numbers)

    return guard


def _is_bool(values: list[Any]) -> None:
    if not set(values) <= {True, False, None}:
        raise TypeError("only True and False are")


def _has_no_time(values: list[Any]) -> None:
    if any(issubclass(kind, datetime) for kind in set(map(type, values))):
        raise TypeError("its time of day would be lost")


def _is_no_text(values: list[Any]) -> None:
    # SQLAlchemy wraps a value that it takes for bytes.
    if any(isinstance(getattr(value, "obj", value), str) for value in values):
        raise TypeError("encode it to bytes first")


def _wall_clock(moment: datetime) -> str:
    # The text of a `timestamp`: in text form, the connection refuses a datetime without a zone.
    if moment.tzinfo is not None:
        raise ValueError("its time zone would be lost")
    return moment.isoformat(" ")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _in_arrays(guard: Callable[[list[Any]], None]) -> Callable[[list[Any]], None]:
    return lambda values: guard(list(_leaves(values)))


_ELEMENT_GUARDS = {
    "int2": _packs_as("h"),
    "int4": _packs_as("i"),
    "float4": _packs_as("f"),
    "bool": _is_bool,
    "date": _has_no_time,
    "bytea": _is_no_text,
}


_GUARDS = {builtin[name].oid: guard for name, guard in _ELEMENT_GUARDS.items()} | {
    builtin[name].array_oid: _in_arrays(guard) for name, guard in _ELEMENT_GUARDS.items()
}


# Their bounds are integers that no guard reaches, so they go as text, which the server checks.
_UNCHECKED = {
    oid
    for name in ("int4range", "int4multirange")
    for oid in (builtin[name].oid, builtin[name].array_oid)
}
