"""Names of time series files: `{source}_{asset}_{timeframe}_{start}_{end}.parquet`."""

import re
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from .errors import DataLayerError

EXAMPLE = "binance_btcusdt_1h_20230101_20231231.parquet"
SUFFIXES = ("parquet", "feather", "csv", "csv.gz")

# Three words, two days and the suffix stay below the 255 bytes of a file name.
LONGEST = 64
_WORD = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DAY = re.compile(r"[0-9]{8}")


class InvalidSeriesName(DataLayerError):
    """A name breaks the convention; the message says where, and shows a right one."""


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

    Source, asset and timeframe are words of lowercase letters and digits with single hyphens
    between, at most 64 characters each. Names sort by source, asset, timeframe and time, as the
    files do in a listing. Serves DL-FI-04.

    Attributes:
        source: who the data come from.
        asset: what the data are about.
        timeframe: the time between two rows, as `1h` or `1d`; `tick` for events without one.
        start: the first day in the file.
        end: the last day in the file, itself included.
        suffix: `parquet`, which the standard recommends; `feather`, `csv` or `csv.gz`.

    Raises:
        InvalidSeriesName: a part can't stand in a name.
    """

    source: str
    asset: str
    timeframe: str
    start: date
    end: date
    suffix: str = "parquet"

    def __post_init__(self) -> None:
        if reason := self._fault():
            raise InvalidSeriesName(f"{reason} A right name looks like {EXAMPLE}.")

    def _fault(self) -> str:
        for part in ("source", "asset", "timeframe"):
            text = getattr(self, part)
            if not _WORD.fullmatch(text):
                return (
                    f"The {part} {text!r} is not made of lowercase letters and digits with single "
                    "hyphens between them."
                )
            if len(text) > LONGEST:
                return f"The {part} {text!r} has more than {LONGEST} characters."
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
            InvalidSeriesName: it does not follow the convention.
        """
        stem, _, suffix = name.partition(".")
        parts = stem.split("_")
        if len(parts) != 5:
            raise InvalidSeriesName(
                f"{name!r} has {len(parts) if stem else 0} parts between underscores before its "
                "suffix, not the five of {source}_{asset}_{timeframe}_{start}_{end}. A right name "
                f"looks like {EXAMPLE}."
            )
        source, asset, timeframe, start, end = parts
        try:
            return cls(source, asset, timeframe, _day(start), _day(end), suffix)
        except InvalidSeriesName as error:
            raise InvalidSeriesName(f"{name!r} is no name of a time series: {error}") from None

    @property
    def series(self) -> Series:
        """What this file has in common with the others of its series."""
        return Series(self.source, self.asset, self.timeframe)

    def touches(self, start: date, end: date) -> bool:
        """Whether the file has a day of this range, both ends included."""
        return self.start <= end and start <= self.end


def _day(text: str) -> date:
    if _DAY.fullmatch(text):
        try:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            pass
    raise InvalidSeriesName(
        f"{text!r} is no day of the form YYYYMMDD. A right name looks like {EXAMPLE}."
    )
