"""The error of this module."""

from ..errors import DataLayerError


class TimeSeriesError(DataLayerError):
    """A declaration, a migration or a backfill that would not do what it says."""
