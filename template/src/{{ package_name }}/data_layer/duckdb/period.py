"""Periods: the stretches of time that one file of an export holds."""

from datetime import date, timedelta
from enum import StrEnum


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
        """The first day of the period behind the one that begins with `begin`."""
        longest = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 31, Period.YEAR: 366}
        return self.begin(begin + timedelta(days=longest[self]))
