"""What is exported, declared beside the models."""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import Column, SelectBase, Table, TextClause, select
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute

from ..project import PROGRAM
from ..series import InvalidSeriesName, Series, SeriesName
from .errors import DuckDBError

Source = Table | type[DeclarativeBase] | SelectBase | TextClause

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LATEST = timedelta(days=36_500)
_declared: dict[str, "Export"] = {}


class Period(StrEnum):
    """A day, a week from Monday, a month or a year; of UTC where the time has a zone."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    def begin(self, day: date) -> date:
        """The first day of the period that `day` falls into."""
        match self:
            case Period.DAY:
                return day
            case Period.WEEK:
                return day - timedelta(days=day.weekday())
            case Period.MONTH:
                return day.replace(day=1)
            case Period.YEAR:
                return day.replace(month=1, day=1)

    def after(self, begin: date) -> date:
        """The first day of the period after the one that begins with `begin`."""
        longest = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 31, Period.YEAR: 366}
        return self.begin(begin + timedelta(days=longest[self]))


class Export:
    """A table or a query that is copied to Parquet, one file for each period of time.

    The commands, the checks and the views know an export once its module is imported: name the
    module in `__main__.py`, as `create_cli(declares=[…])`.

        TRADES = Export("trades", Trade, time=Trade.executed_at, period="month")

    Serves the standard's "export relevant data to Parquet files".

    Args:
        name: of the export and of its view in DuckDB: lowercase letters, digits and underscores.
        of: a model, a table, a `select` or a `text` of SQL without parameters.
        time: the column that places a row in its period: a timestamp or a date, never NULL.
        period: the time that one file spans. Files of some 10 to 500 MB are read best.
        order_by: columns by which the rows of a file are sorted; the time by default. Scans skip
            the row groups whose values can't match.
        late: how long after rows with a later time a row may still come. An export reads again
            the rows from the time of its newest row minus `late` on, and no older ones.
        every: how often the export is meant to run; `check` fails when it is late.
        source, asset, timeframe: the first parts of the file names, as the convention
            `{source}_{asset}_{timeframe}_{start}_{end}.parquet` has them: lowercase letters, digits
            and hyphens. By default the project, the export, and `tick`. No two exports share all
            three.

    Raises:
        DuckDBError: the declaration can't work; the message says why.
    """

    def __init__(
        self,
        name: str,
        of: Source,
        *,
        time: str | Column[Any] | InstrumentedAttribute[Any],
        period: Literal["day", "week", "month", "year"] = "month",
        order_by: Sequence[str] = (),
        late: timedelta = timedelta(0),
        every: timedelta | None = None,
        source: str = PROGRAM,
        asset: str | None = None,
        timeframe: str = "tick",
    ) -> None:
        if not _NAME.fullmatch(name):
            raise DuckDBError(
                f"The export's name {name!r} is not made of lowercase letters, digits and "
                "underscores, beginning with a letter; write one like trades."
            )
        if name in _declared:
            raise DuckDBError(f"Two exports have the name {name}; rename one.")
        if not timedelta(0) <= late <= _LATEST:
            raise DuckDBError(
                f"The export {name} says that rows come {late} late; give 0 to {_LATEST.days} days."
            )
        self.name = name
        self.statement = of if isinstance(of, SelectBase | TextClause) else select(of)
        self.time = time if isinstance(time, str) else time.key
        self.period = Period(period)
        self.order_by = tuple(order_by) or (self.time,)
        self.late = late
        self.every = every
        self.series = Series(source, asset or name.replace("_", "-"), timeframe)
        try:
            SeriesName(*self.series, date.min.replace(year=1000), date.max)
        except InvalidSeriesName as error:
            raise DuckDBError(f"The files of the export {name} can't be named: {error}") from None
        for other in _declared.values():
            if other.series == self.series:
                raise DuckDBError(
                    f"The exports {other.name} and {name} would both write the files "
                    f"{'_'.join(self.series)}_*: give one of them another source, asset or "
                    "timeframe."
                )
        _declared[name] = self

    def __repr__(self) -> str:
        return f"Export({self.name!r})"


def exports() -> list[Export]:
    """Every export that is declared, by name."""
    return [_declared[name] for name in sorted(_declared)]


def export_named(name: str) -> Export:
    """The export of that name.

    Raises:
        DuckDBError: no export has that name; the message lists those that are declared.
    """
    if name not in _declared:
        known = ", ".join(sorted(_declared)) or "none"
        raise DuckDBError(
            f"There is no export {name!r}; declared: {known}. An export counts once its module is "
            "named in __main__.py, as create_cli(declares=[…])."
        )
    return _declared[name]
