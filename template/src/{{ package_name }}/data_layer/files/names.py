"""Names of time series files: `{source}_{asset}_{timeframe}_{start}_{end}.parquet`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import NamedTuple

from .errors import FilesError

EXAMPLE = "binance_btcusdt_1h_20230101_20231231.parquet"
SUFFIXES = ("parquet", "feather", "csv")

LONGEST = 64
_WORD = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TIMEFRAME = re.compile(r"tick|[1-9][0-9]{0,3}(ms|s|m|h|d|w|mo|y)")
_DAY = re.compile(r"[0-9]{8}")
# Ends in two days, or in a timeframe and something with a digit.
_ALMOST = re.compile(
    r"_[0-9]{4}-?[0-9]{2}-?[0-9]{2}_[0-9]{4}-?[0-9]{2}-?[0-9]{2}$"
    r"|_(tick|[0-9]+(ms|s|m|min|h|d|w|mo|y))_[^_]*[0-9][^_]*(_[^_]*)?$",
    re.IGNORECASE,
)


class Series(NamedTuple):
    """What the files of one time series have in common."""

    source: str
    asset: str
    timeframe: str

    def glob(self, suffix: str = "parquet") -> str:
        """The pattern that finds all files of the series, for `Path.glob` and DuckDB alike."""
        return f"{self.source}_{self.asset}_{self.timeframe}_*.{suffix}"


@dataclass(frozen=True, slots=True, order=True)
class SeriesName:
    """The name of one file of a time series; `str()` builds it, `parse` reads it.

    Names sort by source, asset, timeframe and time, as the files do in a listing. Serves DL-FI-04.

    Attributes:
        source: who the data come from; lowercase letters and digits, with hyphens between.
        asset: what they are about, written alike.
        timeframe: the distance of two rows: a number and `ms`, `s`, `m` (minutes), `h`, `d`, `w`,
            `mo` (months) or `y`; or `tick` for events without one. A month is not `1M`: file
            systems that ignore case would take it for a minute.
        start: the first day in the file.
        end: the last day in the file, itself included.
        suffix: `parquet`, which the standard recommends; `feather` or `csv`.

    Raises:
        FilesError: a part can't stand in a name.
    """

    source: str
    asset: str
    timeframe: str
    start: date
    end: date
    suffix: str = "parquet"

    def __post_init__(self) -> None:
        if reason := self._fault():
            raise FilesError(f"{reason} A right name looks like {EXAMPLE}.")

    def _fault(self) -> str:
        for part, text in (("source", self.source), ("asset", self.asset)):
            if not _WORD.fullmatch(text):
                return (
                    f"The {part} {text!r} is not made of lowercase letters and digits with single "
                    "hyphens between them."
                )
            if len(text) > LONGEST:
                return f"The {part} {text!r} has more than {LONGEST} characters."
        if not _TIMEFRAME.fullmatch(self.timeframe):
            return (
                f"The timeframe {self.timeframe!r} is neither `tick` nor a number with ms, s, m, "
                "h, d, w, mo or y behind it, such as 15m."
            )
        # A datetime is a date too, and would lose its time in the name.
        if type(self.start) is not date or type(self.end) is not date:
            return "The start and the end must be dates, not points in time."
        if self.start.year < 1000:
            return f"The start {self.start} has a year of fewer than four digits."
        if self.end < self.start:
            return f"The end {self.end} is before the start {self.start}."
        if self.suffix not in SUFFIXES:
            return f"The suffix {self.suffix!r} is none of {', '.join(SUFFIXES)}."
        return ""

    def __str__(self) -> str:
        return (
            f"{self.source}_{self.asset}_{self.timeframe}"
            f"_{self.start:%Y%m%d}_{self.end:%Y%m%d}.{self.suffix}"
        )

    @classmethod
    def parse(cls, name: str) -> "SeriesName":
        """Read the name of a file, without its folder.

        Raises:
            FilesError: it does not follow the convention; the sentence shows one that does.
        """
        stem, _, suffix = name.rpartition(".")
        parts = stem.split("_")
        if len(parts) != 5:
            raise FilesError(
                f"{name!r} has {len(parts) if stem else 0} parts between underscores before its "
                "suffix, not the five of {source}_{asset}_{timeframe}_{start}_{end}. A right name "
                f"looks like {EXAMPLE}."
            )
        source, asset, timeframe, start, end = parts
        try:
            return cls(source, asset, timeframe, _day(start), _day(end), suffix)
        except FilesError as error:
            raise FilesError(f"{name!r} is no name of a time series: {error}") from None

    @property
    def series(self) -> Series:
        """What this file has in common with the others of its series."""
        return Series(self.source, self.asset, self.timeframe)

    def touches(self, start: date, end: date) -> bool:
        """Whether the file has a day of this range, both ends included."""
        return self.start <= end and start <= self.end


class Gap(NamedTuple):
    """Days, both included, that lie between two files of a series and are in none."""

    series: Series
    start: date
    end: date


class Overlap(NamedTuple):
    """Days, both included, that two files of a series hold."""

    first: SeriesName
    second: SeriesName
    start: date
    end: date


def gaps(names: Iterable[SeriesName]) -> Iterator[Gap]:
    """The days that are missing between the files of each series, by series and time.

    A file covers every day from its start to its end, also those on which nothing was traded.
    """
    for series, files in _by_series(names):
        covered = files[0].end
        for file in files[1:]:
            # Dates end where the calendar does; the day after may not exist.
            if (file.start - covered).days > 1:
                yield Gap(series, covered + _ONE_DAY, file.start - _ONE_DAY)
            covered = max(covered, file.end)


def overlaps(names: Iterable[SeriesName]) -> Iterator[Overlap]:
    """The days that a file of a series shares with the one that reaches furthest before it."""
    for _, files in _by_series(names):
        furthest = files[0]
        for file in files[1:]:
            if file.start <= furthest.end:
                yield Overlap(furthest, file, file.start, min(furthest.end, file.end))
            if file.end > furthest.end:
                furthest = file


def looks_like_series(name: str) -> bool:
    """Whether somebody who wrote this name, right or wrong, meant a time series."""
    return _ALMOST.search(name.rpartition(".")[0]) is not None


_ONE_DAY = timedelta(days=1)


def _day(text: str) -> date:
    if _DAY.fullmatch(text):
        try:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            pass
    raise FilesError(f"{text!r} is no day of the form YYYYMMDD. A right name looks like {EXAMPLE}.")


def _by_series(names: Iterable[SeriesName]) -> Iterator[tuple[Series, list[SeriesName]]]:
    for series, files in groupby(sorted(names), key=lambda name: name.series):
        yield series, list(files)
