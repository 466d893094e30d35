"""Which days the files of a time series hold: gaps and overlaps."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..series import InvalidSeriesName, Series, SeriesName

# A name that ends in two days, or in a timeframe and a part with a digit.
_ALMOST = re.compile(
    r"_[0-9]{4}-?[0-9]{2}-?[0-9]{2}_[0-9]{4}-?[0-9]{2}-?[0-9]{2}$"
    r"|_(tick|[0-9]+(ms|s|m|min|h|d|w|mo|y))_[^_]*[0-9][^_]*(_[^_]*)?$",
    re.IGNORECASE,
)
_ONE_DAY = timedelta(days=1)


class Gap(NamedTuple):
    """Days between two files of a series that no file holds, from `start` to `end` inclusive."""

    series: Series
    start: date
    end: date


class Overlap(NamedTuple):
    """Days that two files of a series both hold, from `start` to `end` inclusive."""

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
            # Not `covered` plus a day: the last date of the calendar has no day after it.
            if (file.start - covered).days > 1:
                yield Gap(series, covered + _ONE_DAY, file.start - _ONE_DAY)
            covered = max(covered, file.end)


def overlaps(names: Iterable[SeriesName]) -> Iterator[Overlap]:
    """The days that a file shares with the earlier file of its series that ends last."""
    for _, files in _by_series(names):
        furthest = files[0]
        for file in files[1:]:
            if file.start <= furthest.end:
                yield Overlap(furthest, file, file.start, min(furthest.end, file.end))
            if file.end > furthest.end:
                furthest = file


def series_names(paths: Iterable[Path]) -> list[SeriesName]:
    """The names of those files that follow the convention."""
    found = []
    for path in paths:
        with suppress(InvalidSeriesName):
            found.append(SeriesName.parse(path.name))
    return found


def looks_like_series(name: str) -> bool:
    """Whether a name, right or wrong, was meant as that of a time series."""
    return _ALMOST.search(name.removesuffix(".gz").rpartition(".")[0]) is not None


def _by_series(names: Iterable[SeriesName]) -> Iterator[tuple[Series, list[SeriesName]]]:
    for series, files in groupby(sorted(names), key=lambda name: name.series):
        yield series, list(files)
