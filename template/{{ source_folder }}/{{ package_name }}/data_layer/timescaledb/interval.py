"""Spans of time as PostgreSQL counts them: months, days and seconds, counted separately."""

import re
from dataclasses import dataclass
from datetime import timedelta

from .errors import TimescaleDBError

_MONTHS = {"mon": 1, "month": 1, "year": 12}
_DAYS = {"day": 1, "week": 7}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}

_PART = re.compile(r"\s*(-?\d+)\s+([a-z]+?)s?(?=\s|$)")
_CLOCK = re.compile(r"\s*(-?)(\d+):-?(\d\d):-?(\d\d)(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Interval:
    """A span of time, exact in months, days and seconds.

    A month has 28 to 31 days and a day 23 to 25 hours where clocks change, so two intervals can
    only be compared by `shortest` and `longest`.
    """

    months: int = 0
    days: int = 0
    seconds: int = 0

    @classmethod
    def of(cls, value: "str | timedelta | Interval") -> "Interval":
        """Read `"7 days"`, `"1 month"`, `"1 hour 30 minutes"`, `"01:30:00"` or a `timedelta`.

        Raises:
            TimescaleDBError: it is none of these, or not longer than zero.
        """
        if isinstance(value, Interval):
            return value
        if isinstance(value, timedelta):
            interval = cls(days=value.days, seconds=value.seconds)
            if value.microseconds or value <= timedelta(0):
                raise _unreadable(value)
            return interval
        if not isinstance(value, str):
            raise _unreadable(value)
        interval = cls.read(value)
        parts = (interval.months, interval.days, interval.seconds)
        if min(parts) < 0 or not any(parts):
            raise _unreadable(value)
        return interval

    @classmethod
    def read(cls, text: str) -> "Interval":
        """Read a span that may be empty or negative, as in a policy that somebody else made.

        Raises:
            TimescaleDBError: the text is no span.
        """
        months = days = seconds = 0
        rest = text.lower().strip()
        while rest:
            if match := _CLOCK.match(rest):
                hours, minutes, whole = map(int, match.groups()[1:])
                clock = hours * 3600 + minutes * 60 + whole
                seconds += -clock if match[1] else clock
            elif match := _PART.match(rest):
                number, unit = int(match[1]), match[2]
                months += number * _MONTHS.get(unit, 0)
                days += number * _DAYS.get(unit, 0)
                seconds += number * _SECONDS.get(unit, 0)
                if unit not in _MONTHS | _DAYS | _SECONDS:
                    raise _unreadable(text)
            else:
                raise _unreadable(text)
            rest = rest[match.end() :].strip()
        return cls(months, days, seconds)

    @property
    def shortest(self) -> float:
        """Its length in seconds when its months and days are as short as they get."""
        # Twelve months have at least 365 days, a single one at least 28.
        days = self.months // 12 * 365 + self.months % 12 * 28 + self.days
        return days * 86_400 + self.seconds

    @property
    def longest(self) -> float:
        """Its length in seconds when its months and days are as long as they get."""
        days = -(-self.months // 12) * 366 if self.months % 12 == 0 else self.months * 31
        return (days + self.days) * 86_400 + self.seconds

    @property
    def fixed(self) -> timedelta | None:
        """The interval as a `timedelta`; None if it has months."""
        return None if self.months else timedelta(days=self.days, seconds=self.seconds)

    def __str__(self) -> str:
        parts = []
        years = self.months // 12 if self.months % 12 == 0 else 0
        months = 0 if years else self.months
        for number, unit in ((years, "year"), (months, "month"), (self.days, "day")):
            if number:
                parts.append(f"{number} {unit}{'s' if number > 1 else ''}")
        for unit, length in (("hour", 3600), ("minute", 60), ("second", 1)):
            if self.seconds and self.seconds % length == 0:
                number = self.seconds // length
                parts.append(f"{number} {unit}{'s' if number > 1 else ''}")
                break
        return " ".join(parts) or "0 seconds"


def _unreadable(value: object) -> TimescaleDBError:
    return TimescaleDBError(
        f"{str(value)!r} is no span of time; write a number and a unit, for example '7 days', "
        "'1 hour' or '3 months'."
    )
