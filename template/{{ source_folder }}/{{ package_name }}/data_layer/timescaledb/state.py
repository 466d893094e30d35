"""What a hypertable or a continuous aggregate is like, as declared or as found in a database."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from .interval import Interval

Key = tuple[str | None, str]

DIALECT = PGDialect_psycopg(paramstyle="named")  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Columnstore:
    """How rows are laid out once they are as old as `after`; `order_by` as SQL writes it."""

    segment_by: tuple[str, ...]
    order_by: tuple[str, ...]
    after: Interval | None


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """Which window before now is refreshed, and how often; a start of None is the beginning."""

    start_offset: Interval | None
    end_offset: Interval | None
    every: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What hypertables and aggregates share; None for what is not set, and the default schema."""

    schema: str | None
    name: str
    columnstore: Columnstore | None
    retention: Interval | None

    @property
    def key(self) -> Key:
        return self.schema, self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class HypertableState(State):
    """A hypertable with its policies."""

    time_column: str
    chunk_interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateState(State):
    """A continuous aggregate with its policies; `source` is the relation that it selects from."""

    source: Key
    query: str
    real_time: bool
    refresh: RefreshPolicy | None


def quote(name: str) -> str:
    """A name as SQL writes it."""
    return DIALECT.identifier_preparer.quote(name)


def unquoted(name: str) -> str:
    """A name without SQL's quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def identifier(schema: str | None, name: str) -> str:
    """A relation as SQL writes it."""
    return ".".join(quote(part) for part in (schema, name) if part)


_ORDER = re.compile(
    r"""\s*(?P<name>"(?:[^"]|"")+"|[^\s"]+)(?:\s+(?P<way>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?\s*""",
    re.IGNORECASE,
)


def ordering(items: Sequence[str], time_column: str) -> tuple[str, ...]:
    """Columns to order by, in one spelling; the time column, newest first, is added if missing."""
    spelled = {}
    for item in items:
        match = _ORDER.fullmatch(item)
        if match is None:
            raise ValueError(item)
        descending = (match["way"] or "").lower() == "desc"
        nulls = (match["nulls"] or "").upper()
        # NULLS FIRST is what DESC means by itself, and NULLS LAST what ASC means.
        unusual = nulls and (nulls == "FIRST") != descending
        spelled[unquoted(match["name"])] = " DESC" * descending + f" NULLS {nulls}" * bool(unusual)
    spelled.setdefault(time_column, " DESC")
    return tuple(quote(name) + way for name, way in spelled.items())
