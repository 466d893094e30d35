"""What a hypertable or a continuous aggregate is like, as declared or as found in a database."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .interval import Interval


@dataclass(frozen=True, slots=True)
class Columnstore:
    """How rows are laid out once they are old: grouped by `segment_by`, sorted by `order_by`."""

    segment_by: tuple[str, ...]
    order_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """Which window before now is refreshed, and how often; a start of None is the beginning."""

    start_offset: Interval | None
    end_offset: Interval | None
    every: Interval


@dataclass(frozen=True, slots=True)
class HypertableState:
    """A hypertable with its policies; None where it has none."""

    schema: str | None
    name: str
    time_column: str
    chunk_interval: Interval
    columnstore: Columnstore | None
    columnstore_after: Interval | None
    retention: Interval | None


@dataclass(frozen=True, slots=True)
class AggregateState:
    """A continuous aggregate with its policies; `source` is the relation that it selects from."""

    schema: str | None
    name: str
    source: tuple[str | None, str]
    query: str
    real_time: bool
    columnstore: Columnstore | None
    columnstore_after: Interval | None
    retention: Interval | None
    refresh: RefreshPolicy | None


_ORDER = re.compile(
    r"""\s*(?P<name>"(?:[^"]|"")+"|[^\s"]+)(?:\s+(?P<way>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?\s*""",
    re.IGNORECASE,
)


def ordering(items: Sequence[str], time_column: str) -> tuple[str, ...]:
    """Columns to order by, in one spelling; the time column, newest first, ends them."""
    spelled = []
    names = set()
    for item in items:
        match = _ORDER.fullmatch(item)
        if match is None:
            raise ValueError(item)
        name = unquoted(match["name"])
        descending = (match["way"] or "").lower() == "desc"
        nulls = (match["nulls"] or "").lower()
        # NULLS FIRST is what DESC means by itself, and NULLS LAST what ASC means.
        unusual = nulls and (nulls == "first") != descending
        names.add(name)
        spelled.append(
            name + (" DESC" if descending else "") + (f" NULLS {nulls.upper()}" if unusual else "")
        )
    if time_column not in names:
        spelled.append(f"{time_column} DESC")
    return tuple(spelled)


_WAY = re.compile(r"(?: DESC)?(?: NULLS (?:FIRST|LAST))?$")


def direction(item: str) -> tuple[str, str]:
    """The column of an item that `ordering` has spelled, and what stands behind it."""
    begin = _WAY.search(item).start()  # type: ignore[union-attr]
    return item[:begin], item[begin:]


def unquoted(name: str) -> str:
    """An identifier without SQL's quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
